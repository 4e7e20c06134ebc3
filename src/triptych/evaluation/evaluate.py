"""`triptych evaluate`: a trained model on data sets, measured, told and drawn."""

import logging
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from rich.text import Text

from triptych.analysis import machine
from triptych.callbacks import words
from triptych.callbacks.display import Status, display
from triptych.callbacks.pictures import as_tensor
from triptych.data.source import Source
from triptych.errors import UserError
from triptych.evaluation import outputs
from triptych.evaluation.given import GivenModel, device_of, load_given
from triptych.evaluation.inference import Forward, WholeBatches, merge, run_over
from triptych.evaluation.ranks import Ranks, joined, launch, launched
from triptych.evaluation.scores import Rules, SetScores
from triptych.evaluation.sets import build_sets
from triptych.rundir import Masking, RunDirectory, RunLog, console, write_atomic

log = logging.getLogger("triptych.evaluation")

Settings = dict[str, Any]


def evaluate(config: DictConfig) -> int:
    """Measures as `config` (the schema's `Evaluate`) says; the exit code."""
    settings = cast(Settings, OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    if settings["devices"] > 1:
        if launched():
            raise UserError(
                f"devices={settings['devices']}, but a launcher has started the processes already: leave devices out"
            )
        return launch(_evaluate, settings, settings["devices"])
    return _evaluate(settings)


def _evaluate(settings: Settings) -> int:
    """One process's part of the evaluation; the first one writes and speaks."""
    with joined() as ranks:
        try:
            _Evaluation(settings, ranks).run()
        except UserError as error:
            if ranks.first:
                raise
            return error.exit_code
    return 0


class _Evaluation:
    """An evaluation from plain settings, in one of the processes that share it."""

    def __init__(self, settings: Settings, ranks: Ranks) -> None:
        self.settings, self.ranks = settings, ranks
        self.begun, self.started = time.monotonic(), _now()
        threads = settings["device"]["threads"] or ranks.threads
        if threads:
            torch.set_num_threads(threads)
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
            name = self.settings["name"] or _run_name(Path(self.settings["checkpoint"]["path"]))
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
            with _Progress(f"evaluating {name}", ranks.first) as progress:
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
        pictures = []
        for name, each in scores.items():
            image_of = _image_of(sources[name])
            pictures += outputs.draw_all(run, name, each, image_of, name_of[name], settings["worst"])
        numbers = self._numbers(given, scores, device)
        outputs.write_metrics(run, numbers)
        outputs.write_report(run, numbers, scores, pictures, config)
        rows = [line for name, each in scores.items() for line in outputs.lines(name, each)]
        rows += [("checkpoint", str(given.path)), ("time", words.duration(numbers["wall_seconds"]))]
        rows += [("report", str(run.report)), ("results", str(run.path))]
        width = max(len(name) for name, _ in rows)
        for name, text in rows:
            console().print(Text.assemble((f"{name:<{width}}  ", "bold"), text))

    def _config(self, given: GivenModel) -> Settings:
        """The configuration with the preprocessing that was used."""
        preprocess = given.preprocess
        data = self.settings["data"] | {
            "image_size": list(preprocess.image_size), "mean": list(preprocess.mean), "std": list(preprocess.std),
        }  # fmt: skip
        for unused in ("augment", "evaluate", "cache", "seed", "max_bad_fraction"):
            data.pop(unused, None)
        return self.masking.tree({**self.settings, "data": data})

    def _numbers(self, given: GivenModel, scores: dict[str, SetScores], device: torch.device) -> Settings:
        seconds = time.monotonic() - self.begun
        found = machine.device(device, self.ranks.world_size)
        return {
            "checkpoint": {
                "path": str(given.path),
                "weights": self.settings["checkpoint"]["weights"],
                "preprocess": given.preprocess.to_dict(),
            },
            "multi_label": next(iter(scores.values())).multi_label,
            "classes": given.classes,
            "sets": {name: outputs.set_numbers(each) for name, each in scores.items()},
            "started": self.started,
            "ended": _now(),
            "wall_seconds": seconds,
            "samples_per_second": sum(each.samples for each in scores.values()) / seconds,
            "command": self.masking.text(" ".join(["triptych", *sys.argv])),
            "device": {"name": found.name, "count": found.count, "precision": self.settings["device"]["precision"]},
            "versions": machine.versions(),
            "git": machine.git_state(Path.cwd()),
        }


class _Progress:
    """Shows how far a set is, on the first process."""

    def __init__(self, label: str, speaks: bool) -> None:
        self._label, self._speaks = label, speaks

    def __enter__(self) -> Callable[[int, int], None] | None:
        self._display = display(console(), time.monotonic()) if self._speaks else None
        return self._show if self._display is not None else None

    def __exit__(self, *error: object) -> None:
        if self._display is not None:
            self._display.close()

    def _show(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._display is not None and self._display.due(now, done, None):
            self._display.show(Status(self._label, done, total), now)


def _image_of(source: Source) -> Callable[[int], torch.Tensor]:
    return lambda index: as_tensor(source.read(index)[0])


def _run_name(path: Path) -> str:
    """The name of the run that a checkpoint is from, else that of its folder."""
    run = RunDirectory.holding(path)
    folder = run.path.absolute().parent if run else path.absolute()
    return (folder if folder.is_dir() else folder.parent).name or "checkpoint"


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
