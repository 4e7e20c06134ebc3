"""Processes that are lost, stopped or stuck are named."""

import os
import threading
import time

import pytest
from torch._C._distributed_c10d import HashStore, PrefixStore, Store

from triptych.parallel.watch import Watch


class Crew:
    """Watches of several ranks over one store, in threads."""

    def __init__(self, store: Store, ranks: int, timeout: float) -> None:
        self.told: dict[int, str] = {}
        self.watches = [
            Watch(rank, ranks, lambda: store, timeout, lambda message, rank=rank: self._tell(rank, message))
            for rank in range(ranks)
        ]
        for watch in self.watches:
            watch.at(1, "step")
            watch.__enter__()

    def _tell(self, rank: int, message: str) -> None:
        self.told[rank] = message

    def wait(self, ranks: set[int], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not ranks <= self.told.keys():
            assert time.monotonic() < deadline, self.told
            time.sleep(0.02)

    def leave(self) -> None:
        for watch in self.watches:
            watch.__exit__()


@pytest.fixture
def store() -> Store:
    return PrefixStore("test", HashStore())


def test_as_long_as_all_get_on_nobody_is_named(store: Store) -> None:
    crew = Crew(store, 3, 0.6)
    for step in range(1, 15):
        time.sleep(0.1)
        for watch in crew.watches:
            watch.at(step, "step")
    crew.leave()
    assert crew.told == {}


def test_a_silent_rank_is_named_to_all(store: Store) -> None:
    crew = Crew(store, 3, 0.6)
    time.sleep(0.3)
    crew.watches[2].at(17, "data")
    time.sleep(0.15)
    crew.watches[0].at(18, "step")
    crew.watches[2].__exit__()  # as one that is stopped: it says nothing any more
    deadline = time.monotonic() + 10
    while {0, 1} - crew.told.keys():
        assert time.monotonic() < deadline
        crew.watches[0].at(18, "step")
        crew.watches[1].at(18, "step")
        time.sleep(0.02)
    for message in crew.told.values():
        assert "rank 2" in message
        assert "no sign of life" in message
        assert "in data of step 17" in message
        assert "trainer.timeout=0.6" in message
        assert f"process {os.getpid()}" in message
    crew.leave()


def test_the_first_rank_is_named_when_it_is_silent(store: Store) -> None:
    crew = Crew(store, 2, 0.5)
    time.sleep(0.3)
    crew.watches[0].__exit__()
    crew.wait({1}, 3)
    assert "rank 0" in crew.told[1]
    crew.leave()


def test_who_is_behind_is_named_when_all_are_alive(store: Store) -> None:
    crew = Crew(store, 3, 0.5)
    for rank, phase in ((0, "step"), (1, "data"), (2, "step")):
        crew.watches[rank].at(5, phase)
    crew.wait({0, 1, 2}, 3)
    assert all("rank 1" in message and "in data of step 5" in message for message in crew.told.values()), crew.told
    crew.leave()


def test_a_store_that_does_not_answer_is_a_lost_link() -> None:
    told: list[str] = []

    def refuse() -> Store:
        raise RuntimeError("Connection timed out")

    with Watch(1, 2, refuse, 0.4, told.append):
        deadline = time.monotonic() + 4
        while not told and time.monotonic() < deadline:
            time.sleep(0.02)
    assert "rank 1 on " in told[0]
    assert "has not reached rank 0" in told[0]
    assert "Connection timed out" in told[0]


def test_a_store_that_never_answers_is_a_lost_link_too() -> None:
    """As when the cable is cut: no error, only silence."""
    told: list[str] = []
    over = threading.Event()

    def hang() -> Store:
        over.wait(20)
        raise RuntimeError("too late")

    with Watch(1, 2, hang, 0.4, told.append):
        deadline = time.monotonic() + 4
        while not told and time.monotonic() < deadline:
            time.sleep(0.02)
        over.set()
    assert "has not reached rank 0" in told[0]


def test_after_a_broken_exchange_who_is_gone_is_named_sooner(store: Store) -> None:
    """Long before the limit: the limit is for those that may be busy."""
    crew = Crew(store, 3, 5.0)
    time.sleep(1)
    crew.watches[2].__exit__()
    start = time.monotonic()
    waiting = [threading.Thread(target=each.broken, args=(RuntimeError("reset by peer"),)) for each in crew.watches[:2]]
    for each in waiting:
        each.start()
    crew.wait({0, 1}, 5)
    assert time.monotonic() - start < 4.5
    assert all("rank 2" in message and "no sign of life" in message for message in crew.told.values()), crew.told
    for each in waiting:
        each.join()
    crew.leave()
