"""Two things timed against each other, fairly, on a machine that other work may share.

Runs alternate (A B A B ...) in one process, so that a burst of other work meets both alike; each pair gives one ratio,
and the median of the ratios with their quartiles is the result.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Step = Callable[[], object]


@dataclass(frozen=True)
class Comparison:
    """How many times faster the second is than the first: median and quartiles of the pairs; median seconds of each."""

    ratio: float
    low: float
    high: float
    first_seconds: float
    second_seconds: float

    def __str__(self) -> str:
        return f"{self.ratio:.3f} ({self.low:.3f} to {self.high:.3f})"


def compare(first: Step, second: Step, pairs: int, warmup: int = 2) -> Comparison:
    """Times ``pairs`` alternating runs of both; which goes first alternates too. At least two pairs."""
    for _ in range(warmup):
        first()
        second()
    firsts, seconds = [], []
    for i in range(pairs):
        if i % 2:
            second_time, first_time = _time(second), _time(first)
        else:
            first_time, second_time = _time(first), _time(second)
        firsts.append(first_time)
        seconds.append(second_time)
    ratios = [a / b for a, b in zip(firsts, seconds, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Comparison(median, low, high, statistics.median(firsts), statistics.median(seconds))


def _time(step: Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start
