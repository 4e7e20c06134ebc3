"""Positions whose second axis is time: the same place in time keeps its vector, whatever the length of the clip."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from triptych.nn.coordinates import running_time
from triptych.nn.position import TokenGrid
from triptych.nn.resample import running_matrix
from triptych.nn.time_position import LearnedTimePosition

CPU = torch.device("cpu")


def made(bands: int, moments: int, centred: bool) -> LearnedTimePosition:
    position = LearnedTimePosition(TokenGrid(8, (bands, moments), prefix=2), centred=centred)
    torch.nn.init.normal_(position.places)
    return position


@settings(max_examples=40, deadline=None)
@given(
    bands=st.integers(1, 6), moments=st.integers(1, 20), wanted=st.integers(1, 30), other=st.integers(1, 8),
    centred=st.booleans(),
)  # fmt: skip
def test_table_is_cut_in_time_and_stretched_elsewhere(
    bands: int, moments: int, wanted: int, other: int, centred: bool
) -> None:
    """Against AST's own steps: cut around the middle where time is short, `F.interpolate` where it is long, and bands
    after.
    """
    position = made(bands, moments, centred)
    picture = position.places.unflatten(0, (bands, moments)).permute(2, 0, 1)[None]
    if wanted <= moments:
        start = int(moments / 2) - int(wanted / 2) if centred else 0
        picture = picture[..., start : start + wanted]
    expected = F.interpolate(picture, size=(other, wanted), mode="bilinear")[0].permute(1, 2, 0).flatten(0, 1)
    torch.testing.assert_close(position.table((other, wanted), CPU), expected, rtol=1e-4, atol=1e-5)


def test_its_own_grid_is_the_table_itself() -> None:
    position = made(4, 7, False)
    assert position.table((4, 7), CPU) is position.places
    prefix = position.prefix_table()
    assert prefix is not None
    assert prefix.shape == (2, 8)


def test_another_number_of_axes_is_an_error() -> None:
    with pytest.raises(ValueError, match="A grid of 1 axes meets positions built for 2 axes"):
        made(4, 7, False).table((28,), CPU)


@given(bands=st.integers(1, 6), built=st.integers(1, 30), moments=st.integers(1, 40))
def test_running_time_counts_moments_and_stretches_bands(bands: int, built: int, moments: int) -> None:
    places = running_time((bands, moments), (4, built), CPU).unflatten(0, (bands, moments))
    assert places[0, :, 1].tolist() == list(range(moments))
    if bands == 4:
        assert places[:, 0, 0].tolist() == [0, 1, 2, 3]


@settings(max_examples=40, deadline=None)
@given(old=st.integers(1, 30), new=st.integers(1, 60), centred=st.booleans())
def test_one_matrix_cuts_or_stretches(old: int, new: int, centred: bool) -> None:
    """What an exported graph does for every length is what the table does with a branch for each."""
    position = made(1, old, centred)
    by_matrix = running_matrix(old, new, centred) @ position.places
    torch.testing.assert_close(by_matrix, position.table((1, new), CPU), rtol=1e-5, atol=1e-6)
