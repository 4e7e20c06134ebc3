"""Statistics in pieces are those of the whole."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.analysis.mel_statistics import Moments, mel_statistics
from triptych.errors import UserError
from triptych.features.mel_presets import ast, clap
from triptych.features.waveforms import Waveforms


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=6), centre=st.floats(-1e6, 1e6), spread=st.floats(0.01, 100)
)
def test_moments_of_parts_add_up(sizes: list[int], centre: float, spread: float) -> None:
    parts = [centre + spread * torch.randn(size, dtype=torch.float64) for size in sizes]
    found = sum((Moments.of(part) for part in parts), Moments())
    whole = torch.cat(parts)
    assert found.count == len(whole)
    if len(whole):
        assert found.mean == pytest.approx(float(whole.mean()), rel=1e-12, abs=1e-9)
        assert found.std == pytest.approx(float(whole.std(correction=0)), rel=1e-6, abs=1e-6)
    else:
        assert (found.mean, found.std) == (0, 0)


def test_normalised_by_its_own_statistics_a_set_has_mean_0_and_half_a_standard_deviation() -> None:
    clips = [torch.randn(400 + 997 * place) * 10 ** (-place / 3) for place in range(9)]
    batches = [Waveforms.of(clips[:4], 16_000), Waveforms.of(clips[4:], 16_000)]
    found = mel_statistics(batches, ast())
    assert (found.clips, found.seconds) == (9, pytest.approx(sum(map(len, clips)) / 16_000))
    # However the clips are cut into batches, and whatever the front end normalised by.
    again = mel_statistics([Waveforms.of([clip], 16_000) for clip in clips], ast(mean=3.0, std=7.0))
    assert (again.mean, again.std) == pytest.approx((found.mean, found.std), rel=1e-9)
    front_end = found.normalised(ast())
    frames = torch.cat([front_end(batch).frames for batch in batches]).double()
    assert float(frames.mean()) == pytest.approx(0, abs=1e-6)
    assert float(frames.std(correction=0)) == pytest.approx(0.5, abs=1e-6)


def test_what_has_no_statistics_is_refused() -> None:
    with pytest.raises(UserError, match="there is no clip"):
        mel_statistics([], ast())
    with pytest.raises(UserError, match=r"all frames of the 2 clips are alike \(their mean is -100\)"):
        mel_statistics([Waveforms.of([torch.zeros(4_800)] * 2, 48_000)], clap())
