"""What a comparison found, for programs."""

import math
from typing import Any

from triptych.analysis.changes import ABSENT, Change
from triptych.analysis.traces import Gap
from triptych.compare.findings import Findings


def facts_of(found: Findings) -> dict[str, Any]:
    """Everything in plain containers; numbers that JSON lacks are the words `nan`, `inf` and `-inf`."""
    trace = found.trace
    return {
        "first": str(found.first.path),
        "second": str(found.second.path),
        "status": [found.first.status, found.second.status],
        "tolerance": trace.tolerance,
        "equal": trace.equal,
        "equal_to_the_last_bit": trace.bit_equal,
        "settings": [_change(each) for each in found.settings],
        "surroundings": None if found.surroundings is None else [_change(each) for each in found.surroundings],
        "shared_steps": trace.shared,
        "steps_of_first_only": trace.only[0],
        "steps_of_second_only": trace.only[1],
        "metrics_of_first_only": trace.columns_only[0],
        "metrics_of_second_only": trace.columns_only[1],
        "metrics": {
            column.name: {
                "values": len(column.steps),
                "different": column.apart,
                "first_difference": _gap(column.parting),
                "largest_difference": _gap(column.largest),
                "values_of_first_only": column.unmatched[0],
                "values_of_second_only": column.unmatched[1],
            }
            for column in trace.columns
        },
        "final": {
            side: {name: {"step": step, "value": _number(value)} for name, (step, value) in run.final.items()}
            for side, run in (("first", found.first), ("second", found.second))
        },
    }


def _change(change: Change) -> dict[str, Any]:
    sides = {"first": change.first, "second": change.second}
    return {"key": change.key, **{side: _number(value) for side, value in sides.items() if value is not ABSENT}}


def _gap(gap: Gap | None) -> dict[str, Any] | None:
    return None if gap is None else {name: _number(value) for name, value in vars(gap).items()}


def _number(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
