"""Requests to stop: once, twice, in haste, to one process and to the job."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from functools import partial

from .fault import Event, Scene

RARE = ("checkpoint.every_steps=100",)
VALIDATED = 8
"""The step of the first validation, with a save of its own."""
CODES = {"SIGTERM": 143, "SIGUSR1": 143, "SIGINT": 130}


def events() -> Iterator[Event]:
    """One save at a step boundary and the documented exit code, however often it is asked for."""
    for subject in ("one", "two", "sharded"):
        for name, code in CODES.items():
            for gaps in ((), (0.0,), (0.03,), (0.1, 0.1)):
                if name == "SIGINT" and gaps:
                    continue
                if subject == "sharded" and len(gaps) != 1:
                    continue
                for whom in ("job",) if subject == "one" or gaps else ("job", "rank"):
                    yield Event(
                        name=f"{name}-{subject}-{whom}-{'-'.join(map(str, gaps)) or 'once'}", invariant=9,
                        injection=f"{name} {('once', 'twice', 'three times')[len(gaps)]}", subject=subject,
                        where=f"to the {whom}, {gaps} s apart", strike=partial(ask, name, gaps, whom), step=5,
                        rank=0 if subject == "one" else 1, codes=(code,), words=RARE, check=one_save,
                    )  # fmt: skip
        yield Event(
            name=f"SIGINT-{subject}-twice", invariant=9, injection="SIGINT twice", subject=subject,
            where="leaves at once", strike=partial(ask, "SIGINT", (0.01,), "job"), step=7, codes=(130,),
        )  # fmt: skip


def ask(name: str, gaps: Sequence[float], whom: str, scene: Scene) -> None:
    """Sends a signal, and again after each of `gaps` seconds, from a process of its own."""
    launched = os.environ.get("WORLD_SIZE", "1") != "1"
    receiver = os.getppid() if whom == "job" and launched else os.getpid()
    number = getattr(signal, name)
    if os.fork() == 0:
        os.setsid()
        for gap in (0.0, *gaps):
            time.sleep(gap)
            try:
                os.kill(receiver, number)
            except ProcessLookupError:
                break
        os._exit(0)


def one_save(scene: Scene) -> str:
    """What is wrong with the number of saves: one, and that of a validation that came before the stop was agreed on."""
    path = scene.place / "acknowledged"
    saves = path.read_text().split() if path.exists() else []
    own = [name for name in saves if name.split(".")[0] != f"step_{VALIDATED:07d}"]
    return "" if len(own) == 1 or len(saves) == 1 else f"made {len(saves)} saves, not one"
