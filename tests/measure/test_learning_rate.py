"""A rate is found on curves whose right rate is known, and refused on noise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.errors import UserError
from triptych.measure.learning_rate import AGREEMENT, Reading, agreed, ramp, read, smoothed


def descent(curvature: float, condition: float, noise: float, rates: list[float], seed: int) -> list[float]:
    """Losses of noisy gradient descent on a quadratic in 20 dimensions, whose largest curvature is `curvature`: at a
    rate of 2 / curvature it diverges.
    """
    random = np.random.default_rng(seed)
    curvatures = curvature * np.logspace(-math.log10(condition), 0, 20)
    place = random.normal(size=20) / np.sqrt(curvatures)
    losses: list[float] = []
    for rate in rates:
        losses.append(float(0.5 * (curvatures * place**2).sum() + noise * random.normal()))
        if len(losses) > 10 and sum(losses[-5:]) > 1.5 * sum(losses[:5]):
            break
        place -= rate * (curvatures * place + noise * np.sqrt(curvatures) * random.normal(size=20))
    return losses


def test_a_tenth_of_where_a_quadratic_diverges() -> None:
    found = []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        curvature, condition = 10 ** draw.uniform(-2, 2), 10 ** draw.uniform(1, 2)
        rates = ramp(1e-5 / curvature, 1e3 / curvature, int(draw.integers(100, 150)))
        reading = read(rates, descent(curvature, condition, draw.uniform(0.02, 0.1), rates, seed))
        assert reading.refused is None
        found.append(reading.rate / (0.1 * 2 / curvature))
    assert 1 / 3 < min(found) < max(found) < 3


@given(shift=st.floats(-3, 3), scale=st.floats(0.01, 100), seed=st.integers(0, 1000))
def test_units_of_the_loss_and_of_the_rate_do_not_matter(shift: float, scale: float, seed: int) -> None:
    rates = ramp(1e-5, 1e3, 100)
    losses = descent(1.0, 10.0, 0.01, rates, seed)
    plain = read(rates, losses)
    other = read([rate * 10**shift for rate in rates], [loss * scale + 7 for loss in losses])
    assert other.rate == pytest.approx(plain.rate * 10**shift)
    assert (other.refused is None) == (plain.refused is None)


def test_noise_alone_is_refused() -> None:
    told = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        readings = [
            read(ramp(1e-6, 10, 100), [2.3 + random.normal() * 0.1 for _ in range(100)]) for _ in range(2)
        ]  # fmt: skip
        told += all(reading.refused is None for reading in readings)
        with pytest.raises(UserError, match=r"no learning rate can be told.*times its noise.*larger data.batch_size"):
            agreed(readings)
    assert told == 0


def test_noise_that_leaps_at_the_end_is_refused() -> None:
    for seed in range(100):
        random = np.random.default_rng(seed)
        losses = [2.3 + random.normal() * 0.1 for _ in range(70)] + [3.0 + step for step in range(30)]
        assert read(ramp(1e-6, 10, 100), losses).refused is not None


def test_a_climb_that_ends_too_early_says_so() -> None:
    rates = ramp(1e-6, 1e-1, 100)
    reading = read(rates, descent(1.0, 10.0, 0.001, rates, 0))
    assert reading.refused is not None
    assert "Raise finder.highest" in reading.refused
    assert reading.diverged is None


def test_a_loss_that_is_not_finite_has_diverged() -> None:
    rates = ramp(1e-5, 1e3, 100)
    losses = descent(1.0, 10.0, 0.001, rates, 0)
    least = int(np.argmin(losses))
    reading = read(rates, [*losses[: least + 1], math.nan, 1.0])
    assert reading.refused is None
    assert reading.diverged == rates[least + 1]


def test_seeds_must_agree() -> None:
    def told(rate: float) -> Reading:
        return Reading([rate], [1.0], [1.0], 0.0, 1.0, rate, None, None)

    assert agreed([told(0.1), told(0.2)]) == pytest.approx(0.1 * math.sqrt(2))
    assert agreed([told(0.1), told(0.1 * AGREEMENT * 0.99)]) > 0.1
    with pytest.raises(UserError, match=r"the seeds say 0.1 and 0.31, more than a factor of 3 apart"):
        agreed([told(0.1), told(0.31)])


def test_too_few_losses_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="10 finite losses"):
        read(ramp(1e-6, 1, 30), [1.0] * 5 + [math.inf])


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=50), st.floats(0.5, 5))
def test_smoothing_stays_within_and_leaves_a_line_alone(values: list[float], width: float) -> None:
    smooth = smoothed(np.asarray(values), width)
    assert min(values) - 1e-9 <= smooth.min() <= smooth.max() <= max(values) + 1e-9
    line = np.arange(101.0)
    np.testing.assert_allclose(smoothed(line, 3.0)[20:-20], line[20:-20], atol=1e-6)


@given(st.floats(1e-8, 1e-2), st.floats(1.0, 100), st.integers(2, 300))
def test_a_ramp_grows_by_a_constant_factor(lowest: float, highest: float, steps: int) -> None:
    rates = ramp(lowest, highest, steps)
    assert rates[0] == pytest.approx(lowest)
    assert rates[-1] == pytest.approx(highest)
    np.testing.assert_allclose(np.diff(np.log(rates)), np.log(highest / lowest) / (steps - 1), rtol=1e-6)
