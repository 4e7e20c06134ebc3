"""Interpolation by matrices is PyTorch's own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from triptych.nn.position import resample_grid
from triptych.nn.resample import resampling_matrix


@given(
    # Two columns at least: with antialiasing, F.interpolate of PyTorch 2.15 repeats the first row of a single column.
    old=st.tuples(st.integers(1, 20), st.integers(2, 20)),
    new=st.tuples(st.integers(1, 40), st.integers(2, 40)),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    antialias=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_resampling_is_interpolate(
    old: tuple[int, int], new: tuple[int, int], interpolation: str, antialias: bool
) -> None:
    table = torch.randn(old[0] * old[1], 3)
    picture = table.T.reshape(1, 3, *old)
    wanted = F.interpolate(picture, new, mode=interpolation, antialias=antialias).flatten(2)[0].T
    got = resample_grid(table, old, new, interpolation, antialias)
    # Both round the place of a cell to float32, up to 1e-6 of a cell, where the kernel rises by 1.5 a cell.
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=3e-5)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_an_axis_read_at_its_own_cells_is_itself(interpolation: str, antialias: bool) -> None:
    for cells in (1, 7, 37):
        assert torch.equal(resampling_matrix(cells, cells, interpolation, antialias), torch.eye(cells))


def test_another_interpolation_is_refused() -> None:
    with pytest.raises(ValueError, match="interpolation is 'nearest'; it must be one of bilinear, bicubic"):
        resampling_matrix(3, 4, "nearest", False)
