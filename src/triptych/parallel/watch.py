"""Notices processes of a job that are lost or hang, names them, and ends the job in bounded time.

A process that dies is seen by its launcher at once. One that is stopped, or whose machine or link is gone, is not: the
others wait for it in a collective, for as long as the backend's own limit, and what they then say names nobody. So each
process tells the others through a store, in a thread and on a connection of its own, that it lives and how far it is.
"""

import json
import logging
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from torch._C._distributed_c10d import PrefixStore, Store  # in torch.distributed too, but not for type checkers

from triptych.parallel.launch import ATTEMPT, LOST

log = logging.getLogger("triptych.watch")

_VERDICT = "verdict"


class Watch:
    """Watches over the processes of a job; a context manager.

    The first process looks at all others, and these at it; what it finds, all read and end by.

    Args:
        rank: of this process.
        world_size: how many there are.
        connect: opens a connection of its own to the store that the processes share.
        timeout: seconds without a sign of life, or without progress, after which the job ends.
        end: what to do then, with the message; it should not return.
    """

    def __init__(
        self, rank: int, world_size: int, connect: Callable[[], Store], timeout: float,
        end: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        self._rank, self._world_size, self._timeout = rank, world_size, timeout
        self._connect, self._end = connect, end or _end
        self._silence = timeout
        self._interval = min(5.0, max(0.1, timeout / 10))
        self._stopping = threading.Event()
        self._place: tuple[int, str] = (0, "start")
        self._moved = time.monotonic()
        self._seen: dict[int, tuple[Any, float]] = {}
        self._answered = 0.0
        self._trouble = ""
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "Watch":
        self._moved = self._answered = time.monotonic()
        # What is asked of a store whose machine is gone may never come back: another thread has an eye on the clock.
        works = {"watch": self._talk, "watch of the watch": self._wait_for_answers}
        self._threads = [threading.Thread(target=work, name=name, daemon=True) for name, work in works.items()]
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        for each in self._threads:
            each.join(timeout=self._interval)

    def at(self, step: int, phase: str) -> None:
        """This process has got so far: into `phase` ("step", "data", "validation", "save") of a step."""
        self._place, self._moved = (step, phase), time.monotonic()

    def broken(self, error: BaseException) -> None:
        """An exchange with the others failed, as it does when one of them is gone: waits for the word who it is, and
        ends. Silence is now a matter of a few signs of life.
        """
        self._silence = min(self._timeout, 4 * self._interval)
        if self._stopping.wait(self._silence + 4 * self._interval):
            self.__exit__()  # it is known, and being told
            return
        self._stopping.set()
        told = str(error).strip().splitlines()
        self._end(f"rank {self._rank} has lost its connection to another, and it is not known to which ({told[-1:]})")

    def _talk(self) -> None:
        store: Store | None = None
        beat = 0
        while not self._stopping.wait(self._interval if beat else 0):
            beat += 1
            try:
                if store is None:
                    prefix = f"watch/{os.environ.get(ATTEMPT, '')}"
                    store = PrefixStore(prefix, self._connect())
                    if self._rank == 0:
                        store.set(_VERDICT, "")
                store.set(str(self._rank), json.dumps([beat, *self._place, socket.gethostname(), os.getpid()]))
                verdict = self._look(store)
                self._answered = time.monotonic()
            except Exception as error:
                store, verdict = None, None
                self._trouble = f" ({str(error).splitlines()[0][:200]})"
            if verdict is not None and not self._stopping.is_set():
                self._stopping.set()
                self._end(verdict)

    def _wait_for_answers(self) -> None:
        while not self._stopping.wait(self._interval):
            silent = time.monotonic() - self._answered
            if silent > self._silence:
                self._stopping.set()
                self._end(
                    f"rank {self._rank} on {socket.gethostname()} has not reached rank 0{self._name(0)} for "
                    f"{silent:.0f} s (trainer.timeout={self._timeout:g}): that machine or the link to it is "
                    f"lost{self._trouble}"
                )

    def _look(self, store: Store) -> str | None:
        """What is wrong, as the first process finds it."""
        watched = range(1, self._world_size) if self._rank == 0 else range(1)
        now = time.monotonic()
        for rank in watched:
            told = json.loads(store.get(str(rank))) if store.check([str(rank)]) else None
            if told is not None and told != self._seen.get(rank, (None, 0.0))[0]:
                self._seen[rank] = (told, now)
            elif rank not in self._seen:
                self._seen[rank] = (None, now)
        verdict = self._silent(now) or (self._stuck(now) if self._rank == 0 else None)
        if verdict is None:
            return (store.get(_VERDICT).decode() or None) if self._rank and store.check([_VERDICT]) else None
        if self._rank == 0:
            store.set(_VERDICT, verdict)
        return verdict

    def _silent(self, now: float) -> str | None:
        for rank, (told, since) in self._seen.items():
            if now - since > self._silence:
                place = f"; it was in {told[2]} of step {told[1]}" if told else "; it has never said anything"
                return (
                    f"rank {rank}{self._name(rank)} has given no sign of life for {now - since:.0f} s "
                    f"(trainer.timeout={self._timeout:g}): it is stopped, lost, or cut off{place}"
                )
        return None

    def _stuck(self, now: float) -> str | None:
        """All are alive, but this process has not got on: who is behind holds the others up."""
        if now - self._moved <= self._timeout:
            return None
        places = {rank: (told[1], told[2]) for rank, (told, _) in self._seen.items() if told}
        places[0] = self._place
        first = min(places.values(), key=lambda place: (place[0], place[1] != "data"))
        behind = [rank for rank, place in sorted(places.items()) if place == first]
        if len(behind) == len(places):
            who = f"all {len(places)} ranks have been"
        else:
            named = ", ".join(f"{rank}{self._name(rank)}" for rank in behind[:8])
            who = f"rank {named} holds the others up: it has been"
        return (
            f"{who} in {first[1]} of step {first[0]} for over {now - self._moved:.0f} s "
            f"(trainer.timeout={self._timeout:g})"
        )

    def _name(self, rank: int) -> str:
        told = self._seen.get(rank, (None, 0.0))[0]
        return f" (process {told[4]} on {told[3]})" if told else ""


def _end(message: str) -> None:
    log.error("%s. The job ends with exit code %d", message, LOST)
    for worker in multiprocessing.active_children():
        worker.kill()
    os._exit(LOST)
