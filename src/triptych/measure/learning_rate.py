"""A learning rate from short trainings in which the rate climbs (Smith, 2017, "Cyclical Learning Rates for Training
Neural Networks", section 3.3), or the reason why none can be told.

Smith reads the rates off a picture. Here rules read them, and they refuse a picture that a careful reader would refuse.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from triptych.errors import UserError

FALL_OVER_NOISE = 3.0
"""The loss must fall by this many standard deviations of its noise, or the fall may be noise itself."""

AGREEMENT = 3.0
"""Two seeds must give rates within this factor of each other."""

_WIDTH, _LEAST_WIDTH = 0.04, 2.0  # of the smoothing kernel: a share of the steps, and steps
_FEWEST = 10
_CLIMBED = 0.1  # share of its fall by which a loss has climbed again that has diverged
_FLAT = 0.1  # share of the steps at whose tiny rates nothing has been learnt yet


@dataclass(frozen=True)
class Reading:
    """What one climb says.

    Args:
        rates: learning rate of each step that was made.
        losses: of each step, before it; the last ones may not be finite.
        smooth: the finite losses without most of their noise.
        noise: standard deviation of the loss of a single step.
        fall: of the smooth loss, from its start to its least.
        steepest: rate at which the smooth loss falls fastest.
        diverged: rate from which the smooth loss has climbed back a tenth of its fall; None where it never has.
        refused: why no rate can be told; None where one can.
    """

    rates: list[float]
    losses: list[float]
    smooth: list[float]
    noise: float
    fall: float
    steepest: float
    diverged: float | None
    refused: str | None

    @property
    def rate(self) -> float:
        """The rate to train with: `steepest`, and at most a tenth of `diverged`."""
        return self.steepest if self.diverged is None else min(self.steepest, self.diverged / 10)


def ramp(lowest: float, highest: float, steps: int) -> list[float]:
    """``steps`` rates from ``lowest`` to ``highest``, each the same factor above the one before."""
    return [lowest * (highest / lowest) ** (step / (steps - 1)) for step in range(steps)]


def read(rates: Sequence[float], losses: Sequence[float]) -> Reading:
    """Reads one climb; ``losses`` is shorter than ``rates`` where training was ended early.

    A climb is refused whose loss does not fall by more than `FALL_OVER_NOISE` times its noise, or does not climb again
    before it ends. Raises ValueError for fewer than ten finite losses.
    """
    finite = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    if finite < _FEWEST:
        raise ValueError(f"a climb needs {_FEWEST} finite losses to be read, not {finite}")
    values = np.asarray(losses[:finite], dtype=np.float64)
    flat = max(3, round(_FLAT * len(rates)))
    start = float(np.median(values[:flat]))
    # A loss that leaps a thousandfold where it diverges would reach back through the smoothing.
    tame = np.minimum(values, start + max(start - float(values.min()), 0.0))
    smooth = smoothed(tame, max(_LEAST_WIDTH, _WIDTH * len(rates)))
    bottom = int(np.argmin(smooth))
    fall = start - float(smooth[bottom])
    back = next(
        (step for step in range(bottom, finite) if smooth[step] >= float(smooth[bottom]) + _CLIMBED * fall), None
    )
    if back is None and finite < len(rates):
        back = finite  # not finite, or ended there because it was lost
    # Neighbours differ by their noise, whatever the line they lie on; where the loss climbs it leaps.
    noise = float(np.sqrt(np.mean(np.diff(values[: max(bottom, flat) + 1]) ** 2) / 2))
    steepest = int(np.argmin(np.gradient(smooth[: max(bottom, 1) + 1])))
    refused = None
    if not fall > FALL_OVER_NOISE * noise:
        refused = (
            f"the loss fell by {max(fall, 0.0):.3g} from {start:.4g}, no more than {FALL_OVER_NOISE:g} times its noise "
            f"of {noise:.3g}. Take a larger data.batch_size or more finder.steps"
        )
    elif back is None:
        refused = (
            f"at the highest rate, {rates[-1]:.3g}, the loss had not climbed again from its least. Raise finder.highest"
        )
    return Reading(
        list(rates[: len(losses)]), list(losses), smooth.tolist(), noise, fall, rates[steepest],
        None if back is None else rates[back], refused,
    )  # fmt: skip


def agreed(readings: Sequence[Reading]) -> float:
    """The rate that climbs of several seeds agree on: their geometric mean.

    Raises:
        UserError: one of them was refused, or they differ by more than `AGREEMENT`.
    """
    reason = next((reading.refused for reading in readings if reading.refused is not None), None)
    found = [reading.rate for reading in readings]
    if reason is None and max(found) > AGREEMENT * min(found):
        told = " and ".join(f"{rate:.2g}" for rate in found)
        reason = (
            f"the seeds say {told}, more than a factor of {AGREEMENT:g} apart. Take a larger data.batch_size or more "
            "finder.steps"
        )
    if reason is not None:
        raise UserError(f"no learning rate can be told: {reason}")
    return math.exp(sum(math.log(rate) for rate in found) / len(found))


def smoothed(values: np.ndarray, width: float) -> np.ndarray:
    """A Gaussian mean over neighbours, ``width`` steps its standard deviation; it neither lags nor leads."""
    places = np.arange(len(values))
    weights = np.exp(-0.5 * ((places[:, None] - places[None, :]) / width) ** 2)
    return (weights @ values) / weights.sum(axis=1)
