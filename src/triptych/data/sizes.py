"""The size that transforms bring images to: one for all, or each its own."""

from collections.abc import Sequence

import torch

from triptych.errors import UserError
from triptych.features.native_size import NativeSize

ImageSize = int | Sequence[int] | NativeSize


def image_shape(image_size: ImageSize) -> tuple[int, int] | NativeSize:
    """`(height, width)` in pixels of a size given as one number or as two; a `NativeSize` stays what it is."""
    if isinstance(image_size, NativeSize):
        return image_size
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if height < 1 or width < 1:
        raise UserError(f"image_size is {image_size}; both sides must be at least 1 pixel")
    return height, width


def draw_size(shape: tuple[int, int] | NativeSize) -> float | None:
    """The number that chooses between the sides of a training image, where they are drawn."""
    if isinstance(shape, NativeSize) and shape.sides is not None:
        return torch.rand(1, dtype=torch.float64).item()
    return None
