"""Patches that go through convolutions before they become tokens."""

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from triptych.nn.linear import Linear
from triptych.nn.patch import PatchEmbedding, Size, height_width

_GROUPS = 4  # of at least two channels, or a patch of one pixel would have nothing to be normalised by


class ConvolutionalPatchEmbedding(PatchEmbedding):
    """A small convolutional network within each patch, then the linear map to a token (after Xiao et al., 2021, "Early
    Convolutions Help Transformers See Better", whose network goes over the whole image).

    What a kernel learns at one place of a patch it knows at all others: in a patch of a spectrogram's whole height, the
    same vowel at another pitch. As no convolution leaves its patch, patches can be left out, and clips of differing
    lengths packed, as with any other embedding.

    A layer for each of ``widths``: convolution without bias, group norm (4 groups), GELU. ``kernels`` and ``strides``
    (height and width) have a pair a layer; kernels are odd.

    Raises ValueError for lists of differing lengths, an even kernel, or a width that 8 does not divide.
    """

    linear = False

    def __init__(
        self,
        dim: int,
        patch_size: Size = 16,
        channels: int = 3,
        stride: Size | None = None,
        bias: bool = True,
        widths: Sequence[int] = (16, 32, 32),
        kernels: Sequence[Size] = ((5, 3), (5, 3), (5, 3)),
        strides: Sequence[Size] = ((2, 1), (2, 2), (2, 1)),
    ) -> None:
        super().__init__(dim, patch_size, channels, stride, bias)
        pairs = [(height_width(kernel), height_width(step)) for kernel, step in zip(kernels, strides, strict=False)]
        if not len(widths) == len(kernels) == len(strides):
            raise ValueError(
                f"There are {len(widths)} widths, {len(kernels)} kernels and {len(strides)} strides; a layer has one "
                "of each."
            )
        if any(side % 2 == 0 for kernel, _ in pairs for side in kernel) or any(
            width % (2 * _GROUPS) for width in widths
        ):
            raise ValueError(
                f"kernels={list(kernels)} must be odd, and widths={list(widths)} divisible by {2 * _GROUPS} "
                "(4 groups of the norm)."
            )
        layers: list[nn.Module] = []
        size, inner = self.patch_size, channels
        for width, (kernel, step) in zip(widths, pairs, strict=True):
            padding = (kernel[0] // 2, kernel[1] // 2)
            layers += [
                nn.Conv2d(inner, width, kernel, step, padding, bias=False),
                nn.GroupNorm(_GROUPS, width),
                nn.GELU(),
            ]
            size, inner = (math.ceil(size[0] / step[0]), math.ceil(size[1] / step[1])), width
        self.convolutions = nn.Sequential(*layers)
        self.projection = Linear(inner * size[0] * size[1], dim, bias)

    def forward(self, patches: Float[Tensor, "*batch pixels"]) -> Float[Tensor, "*batch dim"]:
        """Patches, as `cut` gives them, to tokens."""
        images = patches.reshape(-1, self.channels, *self.patch_size)
        tokens = self.projection(self.convolutions(images).flatten(1))
        return tokens.reshape(*patches.shape[:-1], -1)
