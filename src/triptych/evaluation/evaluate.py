"""`triptych evaluate`: a trained model on data sets, measured, told and drawn."""

import logging
from pathlib import Path
from typing import cast

import torch
import yaml
from omegaconf import DictConfig, OmegaConf

from triptych.analysis.recordings import worst_recordings
from triptych.analysis.roads import roads
from triptych.callbacks import words
from triptych.data.source import Source
from triptych.evaluation import outputs
from triptych.evaluation.common import (
    Circumstances,
    Progress,
    Settings,
    data_config,
    print_rows,
    run_name,
    share,
)
from triptych.evaluation.given import GivenModel, device_of, load_given
from triptych.evaluation.inference import Forward, WholeBatches, merge, run_over
from triptych.evaluation.scores import Rules, SetScores
from triptych.evaluation.sets import build_sets
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.parallel.ranks import Ranks
from triptych.rundir import Masking, RunDirectory, RunLog, write_atomic

log = logging.getLogger("triptych.evaluation")


def evaluate(config: DictConfig) -> int:
    """Measures as `config` (the schema's `Evaluate`) says; the exit code."""
    return share(_evaluate, cast(Settings, OmegaConf.to_container(config, resolve=True, throw_on_missing=True)))


def _evaluate(settings: Settings, ranks: Ranks) -> None:
    _Evaluation(settings, ranks).run()


class _Evaluation:
    """An evaluation from plain settings, in one of the processes that share it."""

    def __init__(self, settings: Settings, ranks: Ranks) -> None:
        self.settings, self.ranks = settings, ranks
        self.circumstances = Circumstances()
        if settings["predictions"] == "parquet":
            outputs.need_parquet()
        self.masking = Masking()
        self.rules = Rules(settings["resamples"], settings["seed"], settings["bins"], settings["threshold"])

    def run(self) -> None:
        """Measures every set, then writes everything."""
        allow = tuple(self.settings["allow_targets"])
        given = self.ranks.agree(lambda: load_given(self.settings["checkpoint"], allow))
        device = self.ranks.agree(lambda: device_of(self.settings["device"]["accelerator"], self.ranks.local))
        run = None
        if self.ranks.first:
            name = self.settings["name"] or run_name(Path(self.settings["checkpoint"]["path"]))
            run = RunDirectory.create(self.settings["output"], self.settings["task"], name, folders=["plots"])
        with RunLog(run.log if run else None, self.masking):
            try:
                sources = self.ranks.agree(
                    lambda: build_sets(self.settings["data"], self.settings["sets"], given, allow)
                )
                scores = self._measure(given, sources, device)
                if run is not None:
                    self._write(run, given, sources, scores, device)
            except BaseException:
                if run is not None:
                    run.discard()
                raise

    def _measure(self, given: GivenModel, sources: dict[str, Source], device: torch.device) -> dict[str, SetScores]:
        forward = Forward(given.model, given.preprocess, device, self.settings["device"]["precision"])
        data, ranks = self.settings["data"], self.ranks
        scores = {}
        for name, source in sources.items():
            order = WholeBatches(len(source), data["batch_size"], ranks.rank, ranks.world_size)
            with Progress(f"evaluating {name}", ranks.first) as progress:
                parts = ranks.gather(
                    lambda source=source, order=order, progress=progress: run_over(
                        source, forward, given.preprocess, order, data["workers"], progress
                    )
                )
            said = merge(parts)
            for failure in said.failures if ranks.first else ():
                log.warning("left out %s: %s", failure.name, failure.reason)
            if ranks.first:
                scores[name] = SetScores(said, given.classes or [], source.multilabel, self.rules)
        return scores

    def _write(
        self,
        run: RunDirectory,
        given: GivenModel,
        sources: dict[str, Source],
        scores: dict[str, SetScores],
        device: torch.device,
    ) -> None:
        settings = self.settings
        config = yaml.safe_dump(self._config(given), sort_keys=False, allow_unicode=True)
        write_atomic(run.config, config)
        name_of = {name: source.name for name, source in sources.items()}
        outputs.write_per_class(run, scores)
        outputs.write_predictions(run, scores, name_of, settings["probabilities"], settings["predictions"] == "parquet")
        pictures, recordings = [], []
        for name, each in scores.items():
            images, samples = roads(sources[name], given.preprocess)
            pictures += outputs.draw_all(run, name, each, images, name_of[name], settings["worst"])
            if isinstance(given.preprocess, AudioPreprocess):
                rate = given.preprocess.sample_rate
                recordings += worst_recordings(each.results, samples, rate, settings["worst"], name_of[name])
        numbers = self._numbers(given, scores, device)
        outputs.write_metrics(run, numbers)
        outputs.write_report(run, numbers, scores, pictures, recordings, config)
        rows = [line for name, each in scores.items() for line in outputs.lines(name, each)]
        rows += [("checkpoint", str(given.path)), ("time", words.duration(numbers["wall_seconds"]))]
        rows += [("report", str(run.report)), ("results", str(run.path))]
        print_rows(rows)

    def _config(self, given: GivenModel) -> Settings:
        """The configuration with the preprocessing that was used."""
        return self.masking.tree({**self.settings, "data": data_config(self.settings["data"], given.preprocess)})

    def _numbers(self, given: GivenModel, scores: dict[str, SetScores], device: torch.device) -> Settings:
        samples, precision = sum(each.samples for each in scores.values()), self.settings["device"]["precision"]
        return {
            "checkpoint": {
                "path": str(given.path),
                "weights": self.settings["checkpoint"]["weights"],
                "preprocess": given.preprocess.to_dict(),
            },
            "multi_label": next(iter(scores.values())).multi_label,
            "classes": given.classes,
            "sets": {name: outputs.set_numbers(each) for name, each in scores.items()},
            **self.circumstances.told(samples, device, precision, self.ranks, self.masking),
        }
