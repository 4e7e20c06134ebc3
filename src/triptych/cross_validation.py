"""Cross-validation: a training for each fold, and the mean of what they reach."""

import copy
import json
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Protocol

from omegaconf import DictConfig, OmegaConf, open_dict
from rich.table import Table

from triptych.build import RUN_PACKAGES, build
from triptych.data.folds import EACH
from triptych.data.labelled import LabelledData
from triptych.errors import UserError
from triptych.rundir import RunDirectory, console, file_name, write_atomic


class Outcome(Protocol):
    """How a training ended."""

    @property
    def code(self) -> int: ...
    @property
    def run(self) -> RunDirectory: ...


def held_out(config: DictConfig) -> Any:
    """What a configuration holds out of its training data; None where these have no folds."""
    folds = OmegaConf.select(config, "data.train.folds")
    return None if folds is None else folds.held_out


def cross_validate(config: DictConfig, train: Callable[[DictConfig], Outcome]) -> int:
    """Trains once for each fold, which is then held out; prints a table of all of them with mean and standard deviation
    and leaves it as `folds.json` beside the runs. The exit code: that of the first training that did not end well.

    Raises:
        UserError: data without folds, or with one only.
    """
    names = _folds(config)
    reached: dict[str, dict[str, Any]] = {}
    folder = Path()
    for name in names:
        fold = copy.deepcopy(config)
        with open_dict(fold):
            fold.data.train.folds.held_out = name
            fold.name = f"{config.name}_{file_name(name)}"
        console().print(f"[bold]fold {name}[/bold] is held out ({len(reached) + 1} of {len(names)})")
        outcome = train(fold)
        if outcome.code:
            return outcome.code
        summary = json.loads((outcome.run.path / "summary.json").read_text(encoding="utf-8"))
        reached[name] = {"run": str(outcome.run.path), "metrics": summary["metrics"]}
        folder = outcome.run.path.parent.parent
    told = {"folds": reached, "mean": _over(reached, mean), "deviation": _over(reached, stdev)}
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    path = folder / f"{config.name}_folds_{stamp}.json"
    write_atomic(path, json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    _print(told, path)
    return 0


def _folds(config: DictConfig) -> Sequence[str]:
    settings: Any = OmegaConf.to_container(config, resolve=True)
    data: LabelledData = build(settings["data"] | {"cache": False}, (*RUN_PACKAGES, *settings["allow_targets"]))
    names = getattr(data.train_source, "folds", ())
    if len(names) < 2:
        known = f"{len(names)} fold{'' if len(names) == 1 else 's'}"
        raise UserError(f"data.train.folds.held_out={EACH}, but the data have {known}: at least 2 are needed")
    return names


def _over(reached: dict[str, dict[str, Any]], function: Callable[[list[float]], float]) -> dict[str, float]:
    """A function of the values of each validation metric that all folds have."""
    lists = [each["metrics"] for each in reached.values()]
    shared = [key for key in lists[0] if not key.startswith(("train/", "lr", "grad")) and all(key in m for m in lists)]
    values = {key: [metrics[key] for metrics in lists] for key in shared}
    return {key: function(row) for key, row in values.items() if all(v is not None and math.isfinite(v) for v in row)}


def _print(told: dict[str, Any], path: Path) -> None:
    metrics = list(told["mean"])
    table = Table("fold", *metrics, box=None)
    for name, each in told["folds"].items():
        table.add_row(name, *(f"{each['metrics'][key]:.4f}" for key in metrics))
    table.add_row("mean", *(f"{told['mean'][key]:.4f}" for key in metrics), style="bold")
    table.add_row("deviation", *(f"{told['deviation'][key]:.4f}" for key in metrics))
    console().print(table)
    console().print(f"[bold]folds[/bold]  {path}", soft_wrap=True)
