"""What a run directory says of its run: how far it is, how fast, whether it lives, which of its processes is late."""

import fcntl
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from triptych.analysis.metrics import EPOCH, STEP, read_metrics
from triptych.checkpoints.find import LAST, STEP_NAME
from triptych.errors import UserError
from triptych.plain import read_json
from triptych.rundir import RunDirectory
from triptych.rundir.vitals import Vitals, read_vitals

SILENT = 60.0
"""Seconds after which a process that said nothing counts as silent (a long step or a save may be the reason)."""
LATE = 0.1
"""Of a step that the others wait for a process, above which it is called late."""


@dataclass(frozen=True)
class Process:
    """One process, and what is remarkable about it."""

    vitals: Vitals
    age: float
    late: bool
    silent: bool


@dataclass(frozen=True)
class Report:
    """All that is known of a run.

    Args:
        run: its directory.
        state: "running", "finished", "stopped by SIGTERM", "failed", "ended without a word" (killed, or the machine
            went away), "silent" (some process runs and says nothing), "not begun".
        reason: of a failure; None where there is none.
        step, total, epoch: how far it is.
        metrics: the last value of each.
        checkpoint: the newest, its step, and seconds since it was saved; None where there is none.
        processes: by rank.
        remaining: seconds to the end at the present pace, validations apart; None where that is not known.
    """

    run: Path
    state: str
    reason: str | None
    step: int
    total: int | None
    epoch: float | None
    metrics: dict[str, float]
    checkpoint: tuple[str, int, float] | None
    processes: list[Process]
    remaining: float | None


def read_report(path: Path, now: float | None = None) -> Report:
    """The report of the run directory `path`; `now` is the time in seconds since 1970, the present where it is None.

    Raises:
        UserError: there is no run directory.
    """
    run = RunDirectory.open(path)
    now = time.time() if now is None else now
    table = read_metrics(run.metrics)
    summary = _summary(run.path)
    vitals = read_vitals(run.path)
    alive = is_locked(run.checkpoints)
    processes = judged(vitals, now)
    step = max([int(row[STEP]) for row in table.rows[-1:]] + [each.step for each in vitals], default=0)
    total = next((each.total for each in vitals if each.total), None)
    pace = next((each.seconds_per_step for each in vitals if each.seconds_per_step), None)
    state = _state(alive, summary, processes, bool(table.rows))
    last = {name: table.last(name) for name in table.columns if name not in (STEP, EPOCH)}
    return Report(
        run=run.path,
        state=state,
        reason=summary.get("reason") if not alive else None,
        step=step,
        total=total,
        epoch=float(table.rows[-1][EPOCH]) if table.rows else None,
        metrics={name: value for name, value in last.items() if value is not None},
        checkpoint=_newest(run.checkpoints, now),
        processes=processes,
        remaining=pace * (total - step) if alive and pace and total else None,
    )


def judged(vitals: Sequence[Vitals], now: float) -> list[Process]:
    """Who is late, and who is silent. At each step the last to arrive waits for nobody and the others for it: a process
    is late that waits less than the others by more than `LATE` of a step.
    """
    waits = [each.wait_share for each in vitals if each.wait_share is not None]
    usual = median(waits) if len(waits) > 1 else 0.0
    return [
        Process(
            each,
            age=max(0.0, now - each.time),
            late=each.wait_share is not None and usual - each.wait_share > LATE,
            silent=each.phase in ("training", "validating") and now - each.time > SILENT,
        )
        for each in vitals
    ]


def is_locked(folder: Path) -> bool:
    """Whether a process of this machine, or of one that shares the file system's locks, holds the run's lock."""
    try:
        descriptor = os.open(folder / ".lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _state(alive: bool, summary: dict[str, Any], processes: list[Process], begun: bool) -> str:
    if alive:
        return "silent" if any(each.silent for each in processes) else "running"
    told = [each.vitals.phase for each in processes]
    if summary.get("status") and (not told or told[0] not in ("training", "validating")):
        return str(summary["status"])
    if any(phase in ("training", "validating") for phase in told):
        # Where locks are not shared between machines, a fresh sign of life tells as much.
        fresh = [each for each in processes if each.age < SILENT]
        return "running" if fresh and fresh[0].vitals.host != os.uname().nodename else "ended without a word"
    return "not begun" if not begun else "ended without a word"


def _newest(folder: Path, now: float) -> tuple[str, int, float] | None:
    link = folder / LAST
    if not link.is_symlink() or (match := STEP_NAME.fullmatch(os.readlink(link))) is None:
        return None
    try:
        saved = (folder / match[0] / "manifest.json").stat().st_mtime
    except OSError:
        return None
    return match[0], int(match[1]), max(0.0, now - saved)


def _summary(run: Path) -> dict[str, Any]:
    try:
        found = read_json(run / "summary.json")
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}
