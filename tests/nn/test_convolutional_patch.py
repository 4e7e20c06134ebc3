"""Convolutions that stay within their patch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from triptych.nn.convolutional_patch import ConvolutionalPatchEmbedding
from triptych.nn.init import glorot, initialise


@given(
    height=st.integers(3, 20), width=st.integers(2, 9), stride=st.integers(1, 9), channels=st.integers(1, 2),
    layers=st.integers(1, 3),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_a_patch_is_seen_by_itself_and_its_size_may_be_any(
    height: int, width: int, stride: int, channels: int, layers: int
) -> None:
    parts = ([8, 16, 8][:layers], [[5, 3], 3, [3, 1]][:layers], [[2, 1], 2, 1][:layers])
    embed = ConvolutionalPatchEmbedding(6, (height, width), channels, (height, min(stride, width)), True, *parts)
    images = torch.randn(2, channels, height, width + 4 * embed.stride[1])
    patches, grid = embed.cut(images)
    tokens = embed(patches)
    assert grid == (1, 5)
    assert tokens.shape == (2, 5, 6)
    one = images[1:, :, :, 2 * embed.stride[1] : 2 * embed.stride[1] + width]
    expected = F.linear(embed.convolutions(one).flatten(1), embed.projection.weight, embed.projection.bias)
    torch.testing.assert_close(tokens[1, 2], expected[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(embed(patches[1, 2:4]), tokens[1, 2:4], rtol=1e-4, atol=1e-5)


def test_it_starts_so_that_tokens_are_of_the_size_of_others() -> None:
    torch.manual_seed(0)
    embed = ConvolutionalPatchEmbedding(64, (64, 8), 1, (64, 4))
    initialise(embed, glorot)
    tokens = embed(torch.randn(50, embed.patch_size[0] * embed.patch_size[1]))
    assert 0.3 < tokens.std() < 3
    assert 0.2 < embed.convolutions[0].weight.std() / (2 / 15) ** 0.5 < 2  # pyright: ignore


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (([8], [3, 3], [1]), "1 widths, 2 kernels and 1 strides"),
        (([8], [4], [1]), "must be odd"),
        (([12], [3], [1]), "divisible by 8"),
    ],
)
def test_parts_that_do_not_fit_are_told(parts: tuple[list[int], list[int], list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvolutionalPatchEmbedding(8, 16, 1, None, True, *parts)
