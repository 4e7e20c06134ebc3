"""Bootstrap intervals: how far a metric would move if another set of samples had been drawn."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Statistic = Callable[[Float[np.ndarray, "resamples samples"]], Float[np.ndarray, " resamples"]]
"""A metric as a function of how often each sample counts, one value a row. See `triptych.analysis.statistics`."""

LEVEL = 0.95
_MOST_COUNTS = 2**22  # numbers held at a time: 32 MB


@dataclass(frozen=True)
class Estimate:
    """A metric and the bounds of its interval; the bounds are None where none was asked for."""

    value: float
    low: float | None = None
    high: float | None = None


def bootstrap(
    statistics: Mapping[str, Statistic], samples: int, resamples: int = 1000, seed: int = 0, level: float = LEVEL
) -> dict[str, Estimate]:
    """Each metric with its percentile bootstrap interval (Efron and Tibshirani, 1993, chapter 13).

    `samples` samples are drawn with replacement, `resamples` times, the same draws for every metric. The draws are
    not stratified: the share of each class varies as it would in another set from the same source.

    Args:
        statistics: the metrics by name.
        samples: how many there are, at least 1.
        resamples: how often they are drawn; 0 gives no intervals.
        seed: of the draws.
        level: the interval's share of the resampled values, in the middle.
    """
    whole = np.ones((1, samples))
    values = {name: float(statistic(whole)[0]) for name, statistic in statistics.items()}
    if not resamples:
        return {name: Estimate(value) for name, value in values.items()}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    for counts in resample_counts(samples, resamples, seed):
        for name, statistic in statistics.items():
            drawn[name].append(statistic(counts))
    tail = (1 - level) / 2
    bounds = {name: np.nanquantile(np.concatenate(parts), (tail, 1 - tail)) for name, parts in drawn.items()}
    return {name: Estimate(value, float(bounds[name][0]), float(bounds[name][1])) for name, value in values.items()}


def resample_counts(samples: int, resamples: int, seed: int) -> Iterator[Float[np.ndarray, "part {samples}"]]:
    """How often each sample is drawn in each resample, in parts of several resamples; each row adds up to `samples`."""
    generator = np.random.Generator(np.random.PCG64(seed))
    rows = max(1, min(resamples, _MOST_COUNTS // samples))
    for start in range(0, resamples, rows):
        part = min(rows, resamples - start)
        drawn = generator.integers(samples, size=(part, samples))
        drawn += np.arange(part)[:, None] * samples
        yield np.bincount(drawn.ravel(), minlength=part * samples).reshape(part, samples).astype(np.float64)
