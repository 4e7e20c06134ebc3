"""Power cuts: from one system call on, nothing more reaches the disk, and what was not synced is gone."""

import os
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

from .fault import Event, Scene, die
from .storage import cut_power

CALLS = {"fsync": 10, "rename": 2, "replace": 3, "symlink": 1}
"""Functions of `os`, and how many of each are tried."""


def events() -> Iterator[Event]:
    """Before and after each call of a save, on ext4 in its usual form and in the one that orders least."""
    for subject, most in (("one", CALLS), ("sharded", {"fsync": 6, "rename": 1, "replace": 2})):
        for call, count in most.items():
            for number in range(1, count + 1):
                moment = ("before", "after")[number % 2] if call == "fsync" else "after"
                kind = ("ext4", "writeback")[number % 3 == 2]
                yield Event(
                    name=f"power-{subject}-{call}-{number}", invariant=2, injection="power cut (ext4)", subject=subject,
                    where=f"{moment} {call} {number}", strike=partial(cut_at, call, number, moment),
                    step=3 + 2 * (number % 6), file_system=kind,
                )  # fmt: skip
    for number in range(4):
        yield Event(
            name=f"power-two-fsync-{number}", invariant=2, injection="power cut (ext4)", subject="two",
            where=f"before fsync {2 + 2 * number}", strike=partial(cut_at, "fsync", 2 + 2 * number, "before"),
            step=5 + 2 * number, file_system="ext4",
        )  # fmt: skip


def cut_at(call: str, number: int, moment: str, scene: Scene) -> None:
    """Arms the cut: the n-th call from now on, in whatever thread."""
    function, lock, left = getattr(os, call), threading.Lock(), [number]

    def counted(*given: Any, **named: Any) -> Any:
        with lock:
            left[0] -= 1
            if left[0]:
                return function(*given, **named)
            if moment == "after":
                function(*given, **named)
            (scene.place / "cut").touch()
            cut_power(scene.output.parent)
            die(scene)

    setattr(os, call, counted)
