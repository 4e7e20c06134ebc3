"""Bins of confidence: each sample in one, the gaps as defined, and a picture where there is something to draw."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from triptych.analysis.calibration import bin_of, calibration, draw_reliability


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.integers(1, 20), st.integers(0, 999))
@settings(deadline=None)
def test_error_is_the_mean_gap_of_the_bins(values: list[float], bins: int, seed: int) -> None:
    confidence = np.array(values)
    right = np.random.default_rng(seed).random(len(values)) < confidence
    found = calibration(confidence, right, bins)
    places = bin_of(confidence, bins)
    assert found.count.sum() == len(values)
    gaps = 0.0
    for place in range(bins):
        inside = places == place
        assert found.count[place] == inside.sum()
        if inside.any():
            assert found.accuracy[place] == pytest.approx(right[inside].mean())
            assert found.confidence[place] == pytest.approx(confidence[inside].mean())
            assert place / bins - 1e-9 <= confidence[inside].min()
            assert confidence[inside].max() <= (place + 1) / bins + 1e-9
            gaps += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert found.error == pytest.approx(gaps)


def test_a_model_that_is_right_as_often_as_it_says_has_no_error() -> None:
    confidence = np.repeat([0.25, 0.75], 400)
    right = np.concatenate([np.arange(400) < 100, np.arange(400) < 300])
    assert calibration(confidence, right, 10).error == pytest.approx(0)
    assert calibration(confidence, ~right, 10).error == pytest.approx(0.5)


def test_no_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="bins is 0"):
        calibration(np.array([0.5]), np.array([True]), 0)


def test_reliability_is_drawn_only_of_something(tmp_path: Path) -> None:
    path = tmp_path / "reliability.png"
    assert not draw_reliability(calibration(np.zeros(0), np.zeros(0, bool)), path)
    assert not path.exists()
    assert draw_reliability(calibration(np.array([0.2, 0.9, 1.0]), np.array([False, True, True])), path)
    assert np.asarray(Image.open(path)).std() > 5
