"""Two things timed against each other, fairly, on a machine that other work may share.

Runs alternate (A B A B ...) in one process, so that a burst of other work meets both alike; each pair gives one ratio,
and the median of the ratios with their quartiles is the result.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Step = Callable[[], object]

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of some numbers."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least two numbers. Raises ValueError for fewer."""
        if len(values) < 2:
            raise ValueError(f"quartiles need at least two numbers, not {len(values)}")
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Comparison:
    """How many times faster the second is than the first, and the seconds that a run of each took."""

    ratio: Spread
    first: Spread
    second: Spread

    def __str__(self) -> str:
        return str(self.ratio)


def compare(first: Step, second: Step, pairs: int, warmup: int = 2, device: torch.device = CPU) -> Comparison:
    """Times ``pairs`` alternating runs of both; which goes first alternates too.

    ``warmup`` runs of each come before and are not counted. On a CUDA ``device`` a run ends when the device has done
    it. Raises ValueError below two pairs.
    """
    for _ in range(warmup):
        first()
        second()
    firsts, seconds = [], []
    for i in range(pairs):
        if i % 2:
            second_time, first_time = run_time(second, device), run_time(first, device)
        else:
            first_time, second_time = run_time(first, device), run_time(second, device)
        firsts.append(first_time)
        seconds.append(second_time)
    ratios = [a / b for a, b in zip(firsts, seconds, strict=True)]
    return Comparison(Spread.of(ratios), Spread.of(firsts), Spread.of(seconds))


def time_alone(step: Step, runs: int, warmup: int = 2, device: torch.device = CPU) -> Spread:
    """Seconds of a run of something that has nothing to be compared with; see `compare`."""
    for _ in range(warmup):
        step()
    return Spread.of([run_time(step, device) for _ in range(runs)])


def run_time(step: Step, device: torch.device = CPU) -> float:
    """Seconds of one run, until the device has done it."""
    _wait(device)
    start = time.perf_counter()
    step()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
