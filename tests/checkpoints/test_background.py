"""Work beside training: in order, one at a time, and no failure in silence."""

import threading
import time

import pytest

from triptych.checkpoints.background import Background


def test_work_is_done_in_order_in_another_thread() -> None:
    background, done = Background(threaded=True), []
    for number in range(20):
        background.then(lambda number=number: done.append((number, threading.current_thread())))
    background.wait()
    assert [number for number, _ in done] == list(range(20))
    assert all(thread is not threading.main_thread() for _, thread in done)


def test_after_a_failure_nothing_more_is_done_and_it_is_raised_once() -> None:
    background, done = Background(threaded=True), []
    gate = threading.Event()

    def fail() -> None:
        gate.wait()
        raise OSError("full")

    background.then(fail)
    background.then(lambda: done.append("publish"))
    gate.set()
    with pytest.raises(OSError, match="full"):
        background.wait()
    assert done == []
    background.then(lambda: done.append("next"))
    background.wait()
    background.check()
    assert done == ["next"]


def test_check_does_not_wait() -> None:
    background, gate = Background(threaded=True), threading.Event()
    background.then(lambda: (gate.wait(), None)[1])
    started = time.monotonic()
    background.check()
    assert time.monotonic() - started < 1
    gate.set()
    background.wait()


def test_without_a_thread_work_is_done_and_fails_at_once() -> None:
    background, done = Background(), []
    background.then(lambda: done.append(threading.current_thread()))
    assert done == [threading.current_thread()]
    with pytest.raises(ZeroDivisionError):
        background.then(lambda: print(1 / 0))
