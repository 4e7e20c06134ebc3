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
_FLAT = 0.1  # share of the steps at whose tiny rates nothing has been learnt yet


@dataclass(frozen=True)
class Reading:
    """What one ramp says.

    Args:
        rates: learning rate of each step, growing by a constant factor.
        losses: of each step, before it.
        smooth: the losses without most of their noise.
        steepest: rate at which the smooth loss falls fastest.
        diverged: rate from which the smooth loss has climbed back half of its fall.
        rate: the one to train with: `steepest`, and at most a tenth of `diverged`.
        noise: standard deviation of the loss of a single step.
        fall: of the smooth loss, from its start to its least.
    """

    rates: list[float]
    losses: list[float]
    smooth: list[float]
    steepest: float
    diverged: float
    rate: float
    noise: float
    fall: float


def ramp(lowest: float, highest: float, steps: int) -> list[float]:
    """``steps`` rates from ``lowest`` to ``highest``, each the same factor above the one before."""
    return [lowest * (highest / lowest) ** (step / (steps - 1)) for step in range(steps)]


def read(rates: Sequence[float], losses: Sequence[float]) -> Reading:
    """Reads one ramp. ``losses`` may be shorter than ``rates`` (training was ended) and may end in numbers that are not
    finite.

    Raises:
        UserError: the fall of the loss is no larger than its noise allows for, or the ramp ended before the loss
            climbed.
    """
    given = [float(loss) for loss in losses]
    finite = next((i for i, loss in enumerate(given) if not math.isfinite(loss)), len(given))
    if finite < 10:
        raise UserError(
            f"the loss was not finite at the rate {rates[min(finite, len(rates) - 1)]:.3g} already: start lower, "
            "finder.lowest"
        )
    values = np.asarray(given[:finite])
    steps = len(rates)
    smooth = smoothed(values, max(_LEAST_WIDTH, _WIDTH * steps))
    flat = max(3, round(_FLAT * steps))
    start = float(np.median(values[:flat]))
    bottom = int(np.argmin(smooth))
    fall = start - float(smooth[bottom])
    back = next((step for step in range(bottom, finite) if smooth[step] >= start - fall / 2), finite)
    # Neighbours differ by their noise, whatever the line they lie on; where the loss climbs it leaps.
    noise = float(np.sqrt(np.mean(np.diff(values[: max(bottom, flat) + 1]) ** 2) / 2))
    if bottom < 1 or not fall > FALL_OVER_NOISE * noise:
        raise UserError(
            f"no learning rate can be told: the loss fell by {fall:.3g} from {start:.4g}, and a fall must be above "
            f"{FALL_OVER_NOISE:g} times the noise of the loss, which is {noise:.3g}. Take a larger data.batch_size or "
            "more finder.steps"
        )
    if back == finite == len(rates):
        raise UserError(
            f"no learning rate can be told: at the highest one, {rates[-1]:.3g}, the loss had not climbed back "
            "from its least. Raise finder.highest"
        )
    slopes = np.gradient(smooth[: bottom + 1])
    steepest = float(rates[int(np.argmin(slopes))])
    diverged = float(rates[min(back, steps - 1)])
    return Reading(
        list(rates), given, [float(value) for value in smooth], steepest, diverged, min(steepest, diverged / 10),
        noise, fall,
    )  # fmt: skip


def agreed(readings: Sequence[Reading]) -> float:
    """The rate that ramps of several seeds agree on: their geometric mean.

    Raises:
        UserError: they differ by more than `AGREEMENT`.
    """
    found = [reading.rate for reading in readings]
    if max(found) > AGREEMENT * min(found):
        told = ", ".join(f"{rate:.2g}" for rate in found)
        raise UserError(
            f"no learning rate can be told: the seeds say {told}, which differ by more than a factor of "
            f"{AGREEMENT:g}. Take a larger data.batch_size or more finder.steps"
        )
    return math.exp(sum(math.log(rate) for rate in found) / len(found))


def smoothed(values: np.ndarray, width: float) -> np.ndarray:
    """A Gaussian mean over neighbours, ``width`` steps its standard deviation; it neither lags nor leads."""
    places = np.arange(len(values))
    weights = np.exp(-0.5 * ((places[:, None] - places[None, :]) / width) ** 2)
    return (weights @ values) / weights.sum(axis=1)
