"""The patch embedding is a strided convolution."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from triptych.nn.patch import PatchEmbedding


@given(
    patch=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    less=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    channels=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_equals_a_convolution_overlap_included(
    patch: tuple[int, int], grid: tuple[int, int], less: tuple[int, int], channels: int
) -> None:
    stride = (max(1, patch[0] - less[0]), max(1, patch[1] - less[1]))
    height, width = (p + s * (g - 1) for p, s, g in zip(patch, stride, grid, strict=True))
    embed = PatchEmbedding(5, patch, channels, stride)
    images = torch.randn(2, channels, height, width)
    weight = embed.projection.weight.unflatten(1, (channels, *patch))
    expected = F.conv2d(images, weight, embed.projection.bias, stride).flatten(2).transpose(1, 2)
    patches, found = embed.cut(images)
    assert found == grid
    torch.testing.assert_close(embed(patches), expected, rtol=1e-4, atol=1e-5)


def test_misfits_are_told_with_both_sizes() -> None:
    embed = PatchEmbedding(4, 16)
    with pytest.raises(ValueError, match=r"225 x 224 pixels .* patches of 16 x 16"):
        embed.cut(torch.zeros(1, 3, 225, 224))
    with pytest.raises(ValueError, match=r"have 1 channels.* takes 3"):
        embed.cut(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match=r"stride=\(20, 20\)"):
        PatchEmbedding(4, 16, stride=20)
