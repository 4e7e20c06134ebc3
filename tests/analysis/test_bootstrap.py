"""A bootstrap interval is what its definition says, repeats by its seed, and covers the truth as often as it claims."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.analysis import bootstrap as module
from triptych.analysis.bootstrap import bootstrap, resample_counts
from triptych.analysis.statistics import mean_of


@given(samples=st.integers(1, 40), resamples=st.integers(1, 30), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_interval_is_the_quantiles_of_means_of_drawn_samples(samples: int, resamples: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=samples)
    (estimate,) = bootstrap({"mean": mean_of(values)}, samples, resamples, seed, level=0.9).values()
    drawn = np.random.Generator(np.random.PCG64(seed)).integers(samples, size=(resamples, samples))
    low, high = np.quantile(values[drawn].mean(axis=1), (0.05, 0.95))
    assert estimate.value == pytest.approx(values.mean())
    assert (estimate.low, estimate.high) == (pytest.approx(low), pytest.approx(high))


def test_draws_do_not_depend_on_how_many_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(resample_counts(7, 20, seed=3)))
    monkeypatch.setattr(module, "_MOST_COUNTS", 21)
    parts = list(resample_counts(7, 20, seed=3))
    assert len(parts) == 7
    assert (np.concatenate(parts) == whole).all()
    assert (whole.sum(axis=1) == 7).all()
    assert not (whole == np.concatenate(list(resample_counts(7, 20, seed=4)))).all()


def test_no_resamples_give_no_interval() -> None:
    (estimate,) = bootstrap({"mean": mean_of(np.array([1.0, 3.0]))}, 2, resamples=0).values()
    assert (estimate.value, estimate.low, estimate.high) == (2.0, None, None)


def test_a_95_percent_interval_covers_the_truth_in_about_95_percent() -> None:
    """300 sets of 200 samples; the binomial spread of the share is 1.3 points."""
    draw = np.random.default_rng(0)
    covered = 0
    for number in range(300):
        right = draw.random(200) < 0.7
        estimate = bootstrap({"accuracy": mean_of(right)}, 200, resamples=400, seed=number)["accuracy"]
        assert estimate.low is not None
        assert estimate.high is not None
        covered += estimate.low <= 0.7 <= estimate.high
    assert 0.90 <= covered / 300 <= 0.985
