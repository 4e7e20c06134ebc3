"""At the end of a fit: `plots/*.png`, `classes.csv` and `report.html`."""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from triptych.analysis.class_table import classes_csv
from triptych.analysis.confusion import draw_confusion
from triptych.analysis.curves import draw_curves
from triptych.analysis.explanation import Explanation, explain
from triptych.analysis.grids import draw_grid, draw_mistakes
from triptych.analysis.guesses import draw_guesses, guesses_of
from triptych.analysis.metrics import read_metrics
from triptych.analysis.overlays import draw_looks
from triptych.analysis.per_class import per_class_of_confusion
from triptych.analysis.recordings import Recording, worst_recordings
from triptych.analysis.report import build_report, confused_table
from triptych.analysis.results import ClassificationResults, ImageOf, most_confused
from triptych.analysis.roads import ReadsSamples, SampleOf, roads
from triptych.callbacks import words
from triptych.callbacks.summary import RunSummary, Summary
from triptych.checkpoints.find import LAST
from triptych.checkpoints.load import load
from triptych.data.source import BadSample
from triptych.errors import UserError
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.models.classifier import Classifier
from triptych.objectives.contrastive import ContrastiveObjective
from triptych.parallel.sharded import Sharded
from triptych.rundir import Masking, RunDirectory, file_name, write_atomic

log = logging.getLogger(__name__)

_CAPTIONS = {
    "curves.png": "Loss, metrics and learning rate over the steps",
    "confusion.png": "Confusion: rows are the true classes, columns the predicted ones",
    "predictions.png": "Predictions with their confidence; wrong ones are framed",
    "mistakes.png": "Where the model was surest and wrong",
    "*_guesses.png": "What it thinks of first, of all names; the right one is green",
    "attention.png": "Where it looked: attention that speaks for the predicted class, bright for most",
}
# Whatever goes wrong in drawing (a font, a foreign image, a full disk) must not cost a run that has ended well.
_FAULTS = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError, BadSample)

_KEY_FACTS = 4  # metrics among the numbers at the top
_GUESSES = 32  # pictures with the first guesses
_LOOKS, _LOOKING_SECONDS = 8, 1.5  # pictures with attention over them, and the time after which no other is begun


class Said(Protocol):
    """What a model said of the first samples of a validation set."""

    @property
    def logits(self) -> Tensor: ...

    @property
    def labels(self) -> Tensor: ...

    @property
    def index(self) -> Tensor: ...

    def __len__(self) -> int: ...


@runtime_checkable
class Classifies(Protocol):
    """An objective that keeps, by name of the validation set, what it said and the confusion of all of it."""

    predictions: Mapping[str, Said]
    confusion: Mapping[str, Tensor]
    multi_label: bool


@runtime_checkable
class HasSources(Protocol):
    """A data module with named validation sets."""

    @property
    def validation_sources(self) -> Mapping[str, ReadsSamples]: ...


class RunPictures(Callback):
    """Draws curves, confusion, predictions and worst mistakes, and builds the report, when a fit has ended.

    What cannot be drawn is left out, with the reason in the log: a run never fails for a picture. Stands after the
    `RunSummary` whose numbers the report shows.

    Args:
        run: the run directory.
        summary: the callback that has the numbers.
    """

    def __init__(self, run: RunDirectory, summary: RunSummary) -> None:
        self._run = run
        self._summary = summary

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw everything, then the page."""
        if not trainer.is_global_zero:
            return
        plots, recordings = self._run.plots, list[Recording]()
        self._attempt("curves.png", lambda: draw_curves(read_metrics(self._run.metrics), plots / "curves.png"))
        sets = all_results(pl_module, getattr(trainer, "datamodule", None))
        _, results, image_of, sample_of = sets[0] if sets else (None, None, None, None)
        if results is not None:
            self._attempt("confusion.png", lambda: draw_confusion(results, plots / "confusion.png"))
        if results is not None and image_of is not None and sample_of is not None:
            self._attempt("predictions.png", lambda: draw_grid(results, image_of, plots / "predictions.png"))
            self._attempt("mistakes.png", lambda: draw_mistakes(results, image_of, plots / "mistakes.png"))
            self._attempt("the sounds", lambda: recordings.extend(_recordings(pl_module, results, sample_of)))
            model = partial(_whole_model, trainer, pl_module, self._run)
            self._attempt("attention.png", lambda: _draw_attention(model(), results, sample_of, plots))
        if isinstance(pl_module, ContrastiveObjective):
            for each in sets:
                self._attempt(f"{each.name}_guesses.png", lambda each=each: _draw_guesses(each, plots))
        if results is not None and results.confusion is not None:
            rows = per_class_of_confusion(results.confusion.numpy(), results.classes)
            self._attempt("classes.csv", lambda: write_atomic(self._run.classes, classes_csv(rows)))
        self._attempt("report.html", lambda: self._report(results, recordings))

    def _attempt(self, name: str, draw: Callable[[], object]) -> None:
        try:
            draw()
        except _FAULTS as error:
            log.warning("%s was not made: %s: %s", name, type(error).__name__, error)
            log.debug("%s", name, exc_info=error)

    def _report(self, results: ClassificationResults | None, recordings: list[Recording]) -> None:
        summary = self._summary.summary
        facts = {name: value for name, value in summary.items() if name not in ("command", "status", "metrics")}
        page = build_report(
            title=self._run.path.parent.name,
            status=summary["status"],
            under=f"{summary['device']['name']} · {summary['ended'][:16].replace('T', ' ')} · {self._run.path}",
            tiles=key_numbers(summary),
            pictures=[(text, file) for name, text in _CAPTIONS.items() for file in sorted(self._run.plots.glob(name))],
            tables=[confused_table(most_confused(results))] if results is not None else [],
            config=Masking().text(self._run.config.read_text()) if self._run.config.exists() else "",
            command=summary["command"],
            facts={"metrics": summary["metrics"], **facts},
            recordings=recordings,
        )
        write_atomic(self._run.report, page)


def _whole_model(trainer: Trainer, objective: LightningModule, run: RunDirectory) -> object:
    """The model that was trained; as it was saved, where this process holds a part of it only."""
    if isinstance(trainer.strategy, Sharded):
        return load(run.checkpoints / LAST)
    return getattr(objective, "model", None)


def _draw_attention(model: object, results: ClassificationResults, sample_of: SampleOf, plots: Path) -> None:
    """Some pictures, spread evenly over the validation set, under the attention of the model to them."""
    if not isinstance(model, Classifier):
        return  # attention is told apart by class scores of a head
    places = np.linspace(0, len(results.indices) - 1, min(_LOOKS, len(results.indices))).astype(int)
    found: list[Explanation] = []
    begun = time.monotonic()
    for place in places:
        if time.monotonic() - begun > _LOOKING_SECONDS:
            break
        try:
            found.append(explain(model, sample_of(int(results.indices[place])), multi_label=results.multi_label))
        except UserError as error:
            log.info("no attention.png: %s", error)
            return
    draw_looks(found, results.classes, plots / "attention.png")


def _recordings(objective: LightningModule, results: ClassificationResults, sample_of: SampleOf) -> list[Recording]:
    """The worst mistakes, where the data are sounds."""
    preprocess = getattr(getattr(objective, "model", None), "preprocess", None)
    if not isinstance(preprocess, AudioPreprocess):
        return []
    return worst_recordings(results, sample_of, preprocess.sample_rate)


def key_numbers(summary: Summary) -> list[tuple[str, str]]:
    """The numbers at the top of the report: validation metrics, speed, time, size."""
    metrics = {name: value for name, value in summary["metrics"].items() if value is not None}
    chosen = sorted((name for name in metrics if not name.startswith(("train/", "lr", "grad"))), key=_importance)
    tiles = [(name, words.value(metrics[name])) for name in chosen[:_KEY_FACTS]]
    if summary["samples_per_second"]:
        tiles.append(("samples/s", words.rate(summary["samples_per_second"])))
    tiles += [
        ("time", words.duration(summary["wall_seconds"])),
        ("steps", f"{summary['steps']:,}"),
        ("parameters", words.size(summary["parameters"]["total"])),
    ]
    return tiles


class SetResults(NamedTuple):
    """The results of a validation set, and the road to its images."""

    name: str
    results: ClassificationResults
    image_of: ImageOf
    sample_of: SampleOf


def all_results(objective: object, data: object) -> list[SetResults]:
    """Of each validation set that was classified; none where there are none."""
    if not isinstance(objective, Classifies) or not isinstance(data, HasSources):
        return []
    found = []
    for place, (name, source) in enumerate(data.validation_sources.items()):
        key = name if place else "val"
        said = objective.predictions.get(key)
        if said is None or len(said) == 0:
            continue
        results = ClassificationResults(
            said.logits, said.labels, said.index, objective.confusion.get(key), list(source.classes),
            objective.multi_label,
        )  # fmt: skip
        preprocess = getattr(getattr(objective, "model", None), "preprocess", None)
        found.append(SetResults(name, results, *roads(source, preprocess)))
    return found


def _draw_guesses(given: SetResults, plots: Path) -> None:
    """Of pictures spread evenly over the set."""
    count = len(given.results.indices)
    rows = np.linspace(0, count - 1, min(_GUESSES, count)).astype(int).tolist()
    path = plots / f"{file_name(given.name)}_guesses.png"
    draw_guesses(guesses_of(given.results, rows), given.image_of, path, f"{given.name}: what it thinks of first")


def _importance(name: str) -> tuple[bool, bool, str]:
    return not name.startswith("val/"), not name.endswith("accuracy"), name
