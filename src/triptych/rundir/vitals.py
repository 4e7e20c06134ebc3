"""How each process of a run fares: a small file of its own among the logs, written anew now and then."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from triptych.errors import UserError
from triptych.plain import read_json

FOLDER = "logs"


@dataclass(frozen=True)
class Vitals:
    """One process, as it last told.

    Args:
        rank, host, pid: who.
        time: when, in seconds since 1970.
        phase: what it was in: "training", "validating", or how it ended.
        step, total: optimizer steps done, and of the whole run (None where nothing bounds them).
        samples_per_second: of all processes, over the last seconds.
        seconds_per_step: likewise.
        data_share: of the step time, spent waiting for the loader.
        wait_share: of the step time, spent waiting for processes that are later; 0 for one that is alone.
        memory: bytes at the highest point so far, of the device (on a CPU: of the process).
        mfu: model FLOPs utilisation, where the device's peak and the model's FLOPs are known.
    """

    rank: int
    host: str
    pid: int
    time: float
    phase: str
    step: int
    total: int | None
    samples_per_second: float | None = None
    seconds_per_step: float | None = None
    data_share: float | None = None
    wait_share: float | None = None
    memory: int | None = None
    mfu: float | None = None

    def write(self, run: Path) -> None:
        """Replaces what the process told before; a reader sees the old or the new. Not synced: it is worth nothing
        after a crash of the machine.

        Raises:
            OSError: the disk is full or gone.
        """
        path = run / FOLDER / _name(self.rank)
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self)), encoding="utf-8")
        part.replace(path)


def read_vitals(run: Path) -> list[Vitals]:
    """What all processes last told, by rank; those that are not readable are left out."""
    found = []
    for path in sorted((run / FOLDER).glob(_name("*"))):
        try:
            told = read_json(path)
        except UserError:
            continue
        if isinstance(told, dict) and (vitals := _checked(told)) is not None:
            found.append(vitals)
    return sorted(found, key=lambda vitals: vitals.rank)


def _checked(told: Mapping[str, Any]) -> Vitals | None:
    whole, text = ("rank", "pid", "step"), ("host", "phase")
    right = (
        all(isinstance(told.get(key), int) for key in whole)
        and all(isinstance(told.get(key), str) for key in text)
        and isinstance(told.get("time"), int | float)
        and all(isinstance(told.get(key), int | float | None) for key in told if key not in text)
    )
    return Vitals(**{each.name: told.get(each.name) for each in fields(Vitals)}) if right else None  # pyright: ignore[reportArgumentType]


def _name(rank: int | str) -> str:
    return f"rank_{rank:05d}.json" if isinstance(rank, int) else f"rank_{rank}.json"
