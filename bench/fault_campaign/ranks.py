"""One of several processes is stopped, killed, crashes, fails or hangs: all must end in bounded time."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial

from .fault import Event, Scene

QUICK = ("trainer.timeout=4",)
BOUND = 45.0
"""Seconds in which a job must have ended: its start, the timeout, and its last words."""


def events() -> Iterator[Event]:
    """Of the first process and of another."""
    ways: dict[str, tuple[Callable[[Scene], None], tuple[int, ...], str]] = {
        "SIGSTOP": (_stop, (75,), "rank"),
        "hangs": (_hang, (75,), "rank"),
        "SIGKILL": (partial(_signal, signal.SIGKILL), (137, 75), "rank"),
        "SIGSEGV": (partial(_signal, signal.SIGSEGV), (139, 75), "rank"),
        # 75 where the others notice before the process is all gone.
        "exception": (_fail, (1, 75), "planted"),
        "exits": (_exit, (7, 75), "rank"),
    }
    for subject in ("two", "sharded"):
        for rank in (1, 0):
            for name, (strike, codes, says) in ways.items():
                yield Event(
                    name=f"rank-{subject}-{rank}-{name}", invariant=8, injection=f"a rank: {name}", subject=subject,
                    where=f"rank {rank}", strike=strike, step=6 + rank, rank=rank, codes=codes, says=says, words=QUICK,
                    within=BOUND,
                )  # fmt: skip
        yield Event(
            name=f"rank-{subject}-pause", invariant=8, injection="a rank: SIGSTOP, SIGCONT in time", subject=subject,
            where="rank 1, 1.5 s", strike=_pause, step=7, rank=1, codes=(0,), words=QUICK,
        )  # fmt: skip


def _stop(scene: Scene) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _hang(scene: Scene) -> None:
    time.sleep(600)


def _signal(number: int, scene: Scene) -> None:
    os.kill(os.getpid(), number)


def _fail(scene: Scene) -> None:
    raise RuntimeError("planted")


def _exit(scene: Scene) -> None:
    os._exit(7)


def _pause(scene: Scene) -> None:
    here = os.getpid()
    if os.fork() == 0:
        os.kill(here, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(here, signal.SIGCONT)
        os._exit(0)
