"""What is known of a trained model: read from its checkpoint and its run directory, and from nowhere else."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from triptych.analysis.class_table import read_classes
from triptych.analysis.metrics import STEP, Row, read_metrics
from triptych.analysis.per_class import ClassScore
from triptych.checkpoints.format import has_weights
from triptych.checkpoints.manifest import EMA, MANIFEST, read_manifest
from triptych.errors import UserError
from triptych.models.classifier import Classifier
from triptych.models.contrastive import Contrastive
from triptych.plain import read_json, read_yaml
from triptych.rundir import RunDirectory

_LICENCES = ("licen", "copying")


@dataclass(frozen=True)
class Facts:
    """A model and its run.

    ``classes`` are the names that are known, or none. ``step``: the optimizer step of the weights; None where their
    checkpoint does not say. ``averaged``: the weights are a moving average. ``config`` and ``summary`` are the run's,
    empty where there is no run; ``metrics``: what the run logged at ``step``; ``class_rows``: how well each class was
    told in the run's last validation. ``licences``: licence files of the data, with their first lines.
    """

    model: Classifier | Contrastive
    name: str
    classes: list[str]
    step: int | None
    averaged: bool
    config: dict[str, Any]
    config_text: str
    summary: dict[str, Any]
    metrics: Row
    class_rows: list[ClassScore]
    licences: list[tuple[str, str]]


def gather(model: nn.Module, path: Path, classes: list[str], weights: str) -> Facts:
    """Everything that is known of a loaded checkpoint.

    Args:
        model: as it was loaded.
        path: its folder.
        classes: that are known.
        weights: "ema" or "raw", as they were asked for.

    Raises:
        UserError: neither a classifier nor contrastive towers, or a run directory whose files cannot be read.
    """
    if not isinstance(model, Classifier | Contrastive):
        kinds = "only a Classifier or a Contrastive can be exported"
        raise UserError(f"{path} holds a {type(model).__name__}, but {kinds}")
    step, averaged = None, False
    if (path / MANIFEST).is_file():
        manifest = read_manifest(path)
        step, averaged = int(manifest.facts["step"]), weights == "ema" and has_weights(path, EMA)
    run = RunDirectory.holding(path)
    if run is None:
        name = path.resolve().stem
        return Facts(model, name, classes, step, averaged, {}, "", {}, {}, [], [])
    try:
        config, text = read_yaml(run.config), run.config.read_text(encoding="utf-8")
        summary = read_json(run.summary) if run.summary.is_file() else {}
        logged = next((row for row in read_metrics(run.metrics).rows if row[STEP] == step), {})
        rows = read_classes(run.classes)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"the files of the run {run.path} cannot be read: {error}") from error
    licences = _licences((config.get("data") or {}).get("root"))
    name = run.path.parent.name
    return Facts(model, name, classes, step, averaged, config, text, summary, logged, rows, licences)


def _licences(root: str | None) -> list[tuple[str, str]]:
    """Names of the licence files in the data's folder, and the first line of each that has letters."""
    if root is None or not Path(root).is_dir():
        return []
    found = []
    for file in sorted(Path(root).iterdir()):
        if file.is_file() and file.name.lower().startswith(_LICENCES):
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            found.append(
                (file.name, next((line.strip("# *=-\t") for line in lines if any(map(str.isalpha, line))), ""))
            )
    return found
