"""Images (or spectrograms) cut into patches, and patches made into tokens."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.nn.linear import Linear

Size = int | tuple[int, int] | list[int]


def height_width(size: Size) -> tuple[int, int]:
    """(height, width) from one number for both, or from a pair."""
    if isinstance(size, int):
        return size, size
    height, width = size
    return height, width


class PatchEmbedding(nn.Module):
    """Linear map of each patch of an image to a token.

    A strided convolution written as one matrix product, which is faster on a CPU and keeps the weight a matrix:
    ``projection.weight`` is the convolution's weight ``(dim, channels, height, width)`` with all but the first axis
    flattened. ``stride`` below ``patch_size`` lets patches overlap. Sizes in pixels, one number or (height, width).
    """

    linear = True
    """Whether ``projection`` is all that there is between a patch and its token."""

    def __init__(
        self, dim: int, patch_size: Size = 16, channels: int = 3, stride: Size | None = None, bias: bool = True
    ) -> None:
        super().__init__()
        self.patch_size = height_width(patch_size)
        self.stride = self.patch_size if stride is None else height_width(stride)
        self.channels = channels
        if any(s < 1 or s > p for s, p in zip(self.stride, self.patch_size, strict=True)):
            raise ValueError(f"stride={self.stride} must be at least 1 and at most patch_size={self.patch_size}.")
        self.projection = Linear(channels * self.patch_size[0] * self.patch_size[1], dim, bias)

    def grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of patches of an image of (height, width) pixels. Raises ValueError where patches do not
        cover it exactly.
        """
        rows, columns = (
            (size - patch) // stride + 1 if size >= patch and (size - patch) % stride == 0 else 0
            for size, patch, stride in zip(image_size, self.patch_size, self.stride, strict=True)
        )
        if not rows or not columns:
            raise ValueError(
                f"An image of {image_size[0]} x {image_size[1]} pixels is not covered exactly by patches of "
                f"{self.patch_size[0]} x {self.patch_size[1]} pixels every {self.stride[0]} x {self.stride[1]}; "
                "resize the image or choose another patch_size."
            )
        return rows, columns

    def cut(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch patches pixels"], tuple[int, int]]:
        """The patches, row by row, each flattened as (channels, height, width), and the grid they lie on."""
        if images.shape[1] != self.channels:
            raise ValueError(
                f"The images have {images.shape[1]} channels, but the patch embedding takes {self.channels}."
            )
        grid = self.grid((images.shape[2], images.shape[3]))
        if self.stride != self.patch_size:
            return F.unfold(images, self.patch_size, stride=self.stride).transpose(1, 2), grid
        cells = images.unflatten(3, (grid[1], -1)).unflatten(2, (grid[0], -1))
        return cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2), grid

    def forward(self, patches: Float[Tensor, "*batch pixels"]) -> Float[Tensor, "*batch dim"]:
        """Patches, as `cut` gives them, to tokens."""
        return self.projection(patches)


@torch.no_grad()
def resample_patches(
    weight: Float[Tensor, "dim pixels"], old: tuple[int, int], new: tuple[int, int]
) -> Float[Tensor, "dim new_pixels"]:
    """The weight of a patch embedding for patches of another size (height, width), so that a patch and its resized
    picture give the same token: exactly where patches grow, as nearly as can be where they shrink (Beyer et al., 2023,
    "FlexiViT").

    Resizing (bicubic, with antialiasing) is a linear map; the weight is multiplied with the pseudo-inverse of its
    transpose, in float64. Channels come first in a row, as `PatchEmbedding` has them.
    """
    if old == new:
        return weight
    pixels = old[0] * old[1]
    basis = torch.eye(pixels, dtype=torch.float64, device=weight.device).view(pixels, 1, *old)
    resize = F.interpolate(basis, size=new, mode="bicubic", antialias=True).flatten(1)
    kernels = weight.double().unflatten(1, (-1, pixels))
    return (kernels @ torch.linalg.pinv(resize).T).flatten(1).to(weight.dtype)
