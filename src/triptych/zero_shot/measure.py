"""Zero-shot classification, retrieval and probes on data sets, by any number of processes."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from triptych.data.pair_source import PairSource
from triptych.data.source import BadSample, Source
from triptych.errors import UserError
from triptych.evaluation.common import Circumstances, Progress, Settings, run_name
from triptych.evaluation.given import device_of
from triptych.evaluation.inference import Forward, Said, WholeBatches, merge, run_over
from triptych.evaluation.scores import Rules, SetScores
from triptych.evaluation.sets import TRAIN, check_channels, medium_of, sources_of
from triptych.features.preprocess import Preprocess
from triptych.measure.retrieval import Retrieval
from triptych.models.zero_shot import PLACE, similarity_logits
from triptych.parallel.ranks import Ranks
from triptych.prompts.words import ClassFile, spoken, templates_of
from triptych.rundir import Masking, RunDirectory, RunLog
from triptych.zero_shot import outputs
from triptych.zero_shot.given import Embedder, TextForward, load_pair
from triptych.zero_shot.scores import Prober, ProbeScores, RetrievalScores, SetResult

log = logging.getLogger("triptych.zero_shot")


class Measurement:
    """A measurement from plain settings, in one of the processes that share it."""

    def __init__(self, settings: Settings, ranks: Ranks) -> None:
        self.settings, self.ranks = settings, ranks
        self.circumstances, self.masking = Circumstances(), Masking()
        self.rules = Rules(settings["resamples"], settings["seed"], settings["bins"])

    def run(self) -> None:
        """Measures every set, then writes everything."""
        settings, ranks = self.settings, self.ranks
        allow = tuple(settings["allow_targets"])
        self.given = ranks.agree(lambda: load_pair(settings["checkpoint"], allow))
        self.device = ranks.agree(lambda: device_of(settings["device"]["accelerator"], ranks.local))
        run = None
        if ranks.first:
            name = settings["name"] or run_name(Path(settings["checkpoint"]["path"]))
            run = RunDirectory.create(settings["output"], settings["task"], name, folders=["plots"])
        with RunLog(run.log if run else None, self.masking):
            try:
                sources = ranks.agree(lambda: self._sources(settings["sets"], allow))
                prober = self._prober(allow) if settings["probe"] or settings["shots"] else None
                results = {name: self._set(name, source, prober) for name, source in sources.items()}
                if run is not None:
                    samples = sum(len(source) for source in sources.values())
                    precision = settings["device"]["precision"]
                    facts = self.circumstances.told(samples, self.device, precision, ranks, self.masking)
                    outputs.write_all(run, self.masking.tree(settings), self.given, results, facts)
            except BaseException:
                if run is not None:
                    run.discard()
                raise

    def _sources(self, names: list[str] | None, allow: tuple[str, ...]) -> dict[str, Source]:
        medium = medium_of(self.settings["data"], self.given.preprocess, self.given.path)
        sources = sources_of(self.settings["data"], names, allow, medium)
        for name, source in sources.items():
            if isinstance(self.given.preprocess, Preprocess):
                check_channels(name, source, len(self.given.preprocess.mean))
            if self._classifies(source):
                self._names(name, source)
            if not (self._classifies(source) or self._retrieves(source)):
                raise UserError(f"the set {name!r} has {self._lack(source)}, so there is nothing to measure")
        return sources

    def _lack(self, source: Source) -> str:
        measure = self.settings["measure"]
        if measure == "retrieval":
            return "no captions (measure=retrieval)"
        if source.multilabel:
            return "several labels a sample, which classes told apart by words cannot have"
        return "no classes (measure=classification)" if measure == "classification" else "neither classes nor captions"

    def _classifies(self, source: Source) -> bool:
        if self.settings["measure"] == "retrieval" or not source.classes or source.multilabel:
            return False
        # Samples without a name are concepts of their own, beyond those that have one.
        return not isinstance(source, PairSource) or int(source.ids.max(initial=0)) < len(source.classes)

    def _retrieves(self, source: Source) -> bool:
        return self.settings["measure"] != "classification" and isinstance(source, PairSource)

    def _names(self, name: str, source: Source) -> tuple[list[str], list[int]]:
        """Names to choose from, and the place of each of the set's classes among them."""
        if self.settings["classes"] is None:
            return [spoken(each) for each in source.classes], list(range(len(source.classes)))
        return ClassFile(self.settings["classes"]).fit(source.classes, name)

    def _templates(self, source: Source) -> list[str]:
        if self.settings["templates"] is not None:
            return self.settings["templates"]
        if own := self.settings["data"].get("templates"):
            return templates_of(own)
        # Where pictures have captions, a concept's name is one of them.
        return [PLACE] if isinstance(source, PairSource) else templates_of("photo")

    def _set(self, name: str, source: Source, prober: Prober | None) -> SetResult:
        said = self._features(name, source, projected=True)
        for failure in said.failures if self.ranks.first else ():
            log.warning("left out %s: %s", failure.name, failure.reason)
        scores = self._classify(name, source, said) if self._classifies(source) else None
        retrieval = self._retrieve(name, source, said) if self._retrieves(source) else None
        probes = self._probe(name, source, prober) if prober is not None and self._classifies(source) else None
        return SetResult(source, self._templates(source), scores, retrieval, probes)

    def _features(self, name: str, source: Source, projected: bool) -> Said:
        """Features of all samples in place of logits, in every process."""
        ranks, data = self.ranks, self.settings["data"]
        embedder = Embedder(self.given.model, projected)
        forward = Forward(embedder, self.given.preprocess, self.device, self.settings["device"]["precision"])
        order = WholeBatches(len(source), data["batch_size"], ranks.rank, ranks.world_size)
        with Progress(f"looking at {name}", ranks.first) as progress:
            return merge(
                ranks.gather(lambda: run_over(source, forward, self.given.preprocess, order, data["workers"], progress))
            )

    @property
    def _text(self) -> TextForward:
        return TextForward(self.given.model, self.device, self.settings["device"]["precision"], self.ranks)

    def _classify(self, name: str, source: Source, said: Said) -> SetScores | None:
        names, places = self._names(name, source)
        classes = self._text.classes(names, self._templates(source))
        if not self.ranks.first:
            return None
        logits = self._logits(torch.from_numpy(said.logits), classes)
        labels = np.array(places, dtype=np.int64)[said.labels]
        return SetScores(replace(said, logits=logits.numpy(), labels=labels), names, False, self.rules)

    @torch.inference_mode()
    def _logits(
        self, images: Float[Tensor, "images dim"], classes: Float[Tensor, "classes dim"]
    ) -> Float[Tensor, "images classes"]:
        """On the CPU, in one piece, so that no number of processes changes a bit."""
        scale, bias = self.given.model.logit_scale, self.given.model.logit_bias
        return similarity_logits(images, classes, scale.cpu(), None if bias is None else bias.cpu())

    def _retrieve(self, name: str, source: Source, said: Said) -> RetrievalScores | None:
        assert isinstance(source, PairSource)
        captions: dict[tuple[int, str], int] = {}  # of a concept, and the first image that it is of
        readable = []
        for row, index in enumerate(said.indices.tolist()):
            try:
                found = source.captions(index)
            except BadSample:
                continue
            for text in found:
                captions.setdefault((int(source.ids[index]), text), len(readable))
            readable.append(row)
        if not captions:
            raise UserError(f"no sample of the set {name!r} has both an image that can be read and a caption")
        place = np.array(list(captions.values()), dtype=np.int64)
        groups = source.ids[said.indices[readable]]
        texts = self._text.texts([text for _, text in captions])
        device = "cpu" if self.device.type == "mps" else self.device  # mps has no float64
        search = Retrieval(torch.from_numpy(said.logits[readable]), texts, groups, groups[place], device)
        parts = self.ranks.gather(lambda: search.count(self.ranks.rank, self.ranks.world_size))
        if not self.ranks.first:
            return None
        left_out = len(source) - len(readable)
        return RetrievalScores(*search.ranks(parts), place, self.rules, left_out, self.given.model.perceived)

    def _prober(self, allow: tuple[str, ...]) -> Prober:
        settings = self.settings
        (source,) = self.ranks.agree(lambda: self._sources([TRAIN], allow)).values()
        if not self._classifies(source):
            raise UserError("probe and shots need a training set with one class a sample, and these data have none")
        said = self._features("the training set", source, projected=False)
        prober = Prober(torch.from_numpy(said.logits), said.labels, source.classes, settings["draws"], self.rules)
        if self.ranks.first:
            prober.fit(settings["probe"], settings["shots"])
        return prober

    def _probe(self, name: str, source: Source, prober: Prober) -> ProbeScores | None:
        unknown = [each for each in source.classes if each not in prober.classes]
        if unknown:
            if self.ranks.first:
                log.warning("no probe on %s: the training set has no class %r", name, unknown[0])
            return None
        said = self._features(name, source, projected=False)
        return prober.measure(torch.from_numpy(said.logits), said.labels, source.classes)
