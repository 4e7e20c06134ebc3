"""Calibration: whether a model that says 80% is right in 80% of the cases."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from triptych.analysis import style


@dataclass(frozen=True)
class Calibration:
    """Samples in bins of equal width by their confidence (0 to 1): how many, how often right, how sure on average.

    Empty bins have nan for the latter two. `error` is the expected calibration error: the mean over samples of the
    gap of their bin (Guo et al., 2017).
    """

    count: Int[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]
    confidence: Float[np.ndarray, " bins"]
    error: float


def bin_of(confidence: Float[np.ndarray, " samples"], bins: int) -> Int[np.ndarray, " samples"]:
    """The bin of each confidence; bin `i` is above `i / bins` and at most `(i + 1) / bins`, the first with 0 too."""
    return np.clip(np.ceil(confidence.astype(np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)


def calibration(
    confidence: Float[np.ndarray, " samples"], right: Bool[np.ndarray, " samples"], bins: int = 15
) -> Calibration:
    """The calibration of decisions made with `confidence`, of which some were right. Raises ValueError below 1 bin."""
    if bins < 1:
        raise ValueError(f"bins is {bins}; at least 1 is needed")
    places = bin_of(confidence, bins)
    count = np.bincount(places, minlength=bins)
    hits = np.bincount(places, weights=right, minlength=bins)
    sure = np.bincount(places, weights=confidence.astype(np.float64), minlength=bins)
    error = float(np.abs(hits - sure).sum() / max(len(places), 1))
    with np.errstate(invalid="ignore"):
        return Calibration(count, hits / count, sure / count, error)


def draw_reliability(found: Calibration, path: Path) -> bool:
    """Draw how often each bin was right against how sure it was, and how many samples it has; False if there are
    none.
    """
    total = int(found.count.sum())
    if not total:
        return False
    bins = len(found.count)
    left = np.arange(bins) / bins
    held = found.count > 0
    figure = style.new_figure(5.2, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    style.quiet(upper, f"calibration error {found.error:.1%}")
    upper.plot([0, 1], [0, 1], color=style.MUTED, linewidth=1, linestyle="--", label="perfectly calibrated")
    upper.bar(left[held], found.accuracy[held], 1 / bins, align="edge", color=style.SKY, edgecolor="white",
              label="share right")  # fmt: skip
    upper.plot(found.confidence[held], found.accuracy[held], color=style.BLUE, marker="o", markersize=4,
               linewidth=1.4, label="at the mean confidence of the bin")  # fmt: skip
    upper.set(xlim=(0, 1), ylim=(0, 1))
    upper.set_ylabel("share right", fontsize=style.TEXT, color=style.MUTED)
    upper.legend(fontsize=style.SMALL, frameon=False, labelcolor=style.INK, loc="upper left")
    style.quiet(lower)
    lower.bar(left, found.count / total, 1 / bins, align="edge", color=style.RULE, edgecolor="white")
    lower.set_ylabel("of samples", fontsize=style.TEXT, color=style.MUTED)
    lower.set_xlabel("confidence", fontsize=style.TEXT, color=style.MUTED)
    style.save(figure, path)
    return True
