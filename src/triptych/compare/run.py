"""`triptych compare`: reads two runs, tells where they part, and draws it if asked."""

import json
from pathlib import Path

from omegaconf import DictConfig

from triptych.analysis.changes import changes
from triptych.analysis.metrics import EPOCH
from triptych.analysis.trace_picture import draw_traces
from triptych.analysis.traces import TraceComparison, compare_traces
from triptych.compare.facts import facts_of
from triptych.compare.findings import Findings
from triptych.compare.side import Side, read_side
from triptych.compare.told import show
from triptych.errors import UserError
from triptych.rundir import write_atomic

DIFFERENT = 1
"""Exit code where a value differs by more than is tolerated; 0 where none does."""

_OWN = frozenset({"name", "output", "resume"})
"""Settings that say where a run is written: two runs always differ in them, and no number depends on them."""
_SURROUNDINGS = ("command", "device", "precision", "versions", "git", "data", "parameters")


def compare(config: DictConfig) -> int:
    """Compares the two runs that `config` (the schema's `Compare`) names; the exit code.

    Raises:
        UserError: one of them is no run or has logged nothing, they share no step or no metric, or a file cannot be
            written.
    """
    picture = _place("picture", config.picture, ".png")
    file = _place("json", config.json, "")
    sides = read_side(config.first), read_side(config.second)
    found = findings(*sides, config.tolerance)
    show(found)
    try:
        if picture is not None:
            names = (str(sides[0].path), str(sides[1].path))
            draw_traces(sides[0].table, sides[1].table, found.trace, names, picture)
        if file is not None:
            write_atomic(file, json.dumps(facts_of(found), indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"{error.filename or picture or file} cannot be written: {error.strerror}") from error
    return 0 if found.trace.equal else DIFFERENT


def findings(first: Side, second: Side, tolerance: float) -> Findings:
    """All that differs between two runs.

    Raises:
        UserError: they share no step or no metric.
    """
    trace = compare_traces(first.table, second.table, tolerance)
    _require_shared(first, second, trace)
    around = None
    if first.summary is not None and second.summary is not None:
        left, right = (
            {name: side.summary[name] for name in _SURROUNDINGS if side.summary and name in side.summary}
            for side in (first, second)
        )
        around = changes(left, right)
    return Findings(first, second, changes(first.settings, second.settings, _OWN), around, trace)


def _require_shared(first: Side, second: Side, trace: TraceComparison) -> None:
    if not trace.shared:
        spans = (
            f"'{side.path}' has {len(side.table.rows)} from {side.table.rows[0]['step']} to {side.last_step}"
            for side in (first, second)
        )
        raise UserError(
            f"the runs share no logged step: {' and '.join(spans)}. "
            "Give runs that log the same ones (trainer.log_every)"
        )
    if not any(column.steps for column in trace.columns if column.name != EPOCH):
        names = (", ".join(list(side.final)[:4]) for side in (first, second))
        raise UserError(
            f"the runs share no metric: one logged {' and the other '.join(names)}. "
            "Give two runs of the same kind of training"
        )


def _place(key: str, path: str | None, ending: str) -> Path | None:
    if path is None:
        return None
    place = Path(path)
    if not place.name.endswith(ending) or place.is_dir():
        raise UserError(f"{key}={path} is no name of a {ending or 'file'}{' file' if ending else ''}: give one")
    if not place.parent.is_dir():
        raise UserError(f"{key}={path}: there is no folder '{place.parent}'. Make it first, or choose another place")
    return place
