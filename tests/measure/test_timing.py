"""Interleaved timing tells how much slower one thing is than another, whatever the machine does meanwhile."""

import time
from itertools import count

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from triptych.measure import timing
from triptych.measure.timing import Spread, compare, run_time, time_alone


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only the timed functions move."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize("factor", [0.5, 2.0, 3.0])
def test_the_ratio_is_that_of_the_times_under_a_load_that_comes_and_goes(clock: list[float], factor: float) -> None:
    load = (1.0 + 4.0 * (run // 6 % 2) for run in count())  # other work comes for six runs, and goes for six

    def sleeper(seconds: float):
        def run() -> None:
            clock[0] += seconds * next(load)

        return run

    result = compare(sleeper(factor), sleeper(1.0), pairs=12, warmup=3)
    assert result.ratio.low == pytest.approx(factor)
    assert result.ratio.high == pytest.approx(factor)


def test_twice_the_sleep_is_about_twice_the_time() -> None:
    result = compare(lambda: time.sleep(0.02), lambda: time.sleep(0.01), pairs=7, warmup=1)
    assert 1.3 < result.ratio.median < 2.7
    assert result.ratio.low <= result.ratio.median <= result.ratio.high
    assert result.second.median >= 0.01
    assert time_alone(lambda: time.sleep(0.01), 3, warmup=0).low >= 0.01


@given(pairs=st.integers(2, 9), warmup=st.integers(0, 3))
def test_runs_alternate_and_each_goes_first_as_often(pairs: int, warmup: int) -> None:
    ran: list[str] = []
    compare(lambda: ran.append("A"), lambda: ran.append("B"), pairs, warmup)
    assert len(ran) == 2 * (pairs + warmup)
    counted = ran[2 * warmup :]
    each = ["".join(counted[i : i + 2]) for i in range(0, 2 * pairs, 2)]
    assert each == ["AB", "BA"] * (pairs // 2) + ["AB"] * (pairs % 2)


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=20))
def test_quartiles_enclose_the_median(values: list[float]) -> None:
    spread = Spread.of(values)
    assert min(values) <= spread.low <= spread.median <= spread.high <= max(values)


def test_quartiles_of_one_number_are_refused() -> None:
    with pytest.raises(ValueError, match="at least two"):
        Spread.of([1.0])


@pytest.mark.gpu
def test_a_run_on_a_gpu_ends_when_its_work_is_done() -> None:
    device = torch.device("cuda")
    a = torch.randn(4096, 4096, device=device)

    def products(number: int):
        def run() -> None:
            for _ in range(number):
                torch.mm(a, a)

        return run

    assert run_time(products(200), device) > 0.02  # queueing them takes a few milliseconds
    assert 2 < compare(products(80), products(20), pairs=5, device=device).ratio.median < 8
