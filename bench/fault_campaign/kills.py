"""SIGKILL at each call that a save makes to the system, and at moments that nobody chose."""

import os
import random
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .fault import Event, NotHere, Scene

CALLS = {"fsync": 12, "rename": 4, "symlink": 2, "unlinkat": 6, "mkdir": 1, "rmdir": 1, "write": 10}
"""System calls, and how many of each there are at most in one save; calls that do not come are left out."""


def events() -> Iterator[Event]:
    """Kills of every kind of run, of each of its processes."""
    for subject, rank in (("one", 0), ("two", 0), ("sharded", 0), ("sharded", 1)):
        calls = CALLS if rank == 0 else {"fsync": 6, "rename": 2, "write": 4}
        for call, most in calls.items():
            if subject == "two" and call not in ("fsync", "rename"):
                continue  # the process that saves does what it does alone
            for number in range(1, most + 1):
                yield Event(
                    name=f"kill-{subject}-{rank}-{call}-{number}", invariant=1,
                    injection=f"SIGKILL in a save, at {call}" + (" of rank 1" if rank else ""), subject=subject,
                    where=f"{call} {number}", strike=partial(at_call, call, number), step=3 + 2 * (number % 5),
                    rank=rank,
                )  # fmt: skip
    draw = random.Random(0)
    for subject, rank, count in (("one", 0, 10), ("two", 1, 6), ("sharded", 1, 6)):
        for number in range(count):
            seconds = draw.uniform(0, 0.25)
            yield Event(
                name=f"kill-random-{subject}-{number}", invariant=1, injection="SIGKILL at a random moment",
                subject=subject, where=f"{seconds:.3f} s into a step", strike=partial(later, seconds),
                step=draw.randint(1, 17), rank=rank,
            )  # fmt: skip


def at_call(call: str, number: int, scene: Scene) -> None:
    """From now on, the n-th such call of a thread of this process is its last."""
    trace(scene, call, "signal=KILL", number)


def later(seconds: float, scene: Scene) -> None:
    """Kills this process in a while, whatever it does then."""
    parent = os.getpid()
    if os.fork() == 0:
        time.sleep(seconds)
        os.kill(parent, 9)
        os._exit(0)


def trace(scene: Scene, call: str, action: str, number: int | str) -> None:
    """Has strace watch this process from now on, and do something at the n-th call."""
    with open(scene.place / "strace", "w") as said:
        tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-y", "-o", str(scene.place / "trace"), "-p", str(os.getpid()), "-e", f"trace={call}",
         "-e", f"inject={call}:{action}:when={number}"],
        stdout=said, stderr=said, start_new_session=True,
    )  # fmt: skip
    while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
        if tracer.poll() is not None:
            raise NotHere(f"strace: {(scene.place / 'strace').read_text()}")
        time.sleep(0.005)
