"""How the images of a step become one tensor, and that tensor a batch."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from triptych.data.collate import Join, collate
from triptych.features.mixed_images import MixedImages
from triptych.features.native_size import NativeSize

Sizes = tuple[tuple[int, int], ...]


@runtime_checkable
class Collation(Join, Protocol):
    """What a loader must know of its images.

    Attributes:
        channels: of every image.
        largest: bytes of the largest image.
        expected: the shape that an image must have, for messages.
    """

    channels: int
    largest: int
    expected: str

    def fits(self, image: Tensor) -> bool:
        """Whether a transformed image can be in a batch."""
        ...

    def batch(self, joined: Tensor, sizes: Sizes) -> Tensor | MixedImages:
        """What training gets: the tensor with the images' heights and widths."""
        ...


class Stacked:
    """Images of one shape `(channels, height, width)`, stacked."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        self.channels = shape[0]
        self.largest = shape[0] * shape[1] * shape[2]
        self.expected = str(shape)

    def fits(self, image: Tensor) -> bool:
        return tuple(image.shape) == self._shape

    def shape(self, images: Sequence[Tensor]) -> tuple[int, ...]:
        return (len(images), *self._shape)

    def join(self, images: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
        return collate(images, out)

    def batch(self, joined: Tensor, sizes: Sizes) -> Tensor:
        return joined


class EndToEnd:
    """Images of their own sizes in whole patches, end to end: see `MixedImages`."""

    def __init__(self, channels: int, native: NativeSize) -> None:
        rows, columns = native.patch_size
        self._native = native
        self.channels = channels
        self.largest = channels * native.max_tokens * rows * columns
        self.expected = (
            f"({channels}, multiple of {rows}, multiple of {columns}), of at most {native.max_tokens} patches"
        )

    def fits(self, image: Tensor) -> bool:
        channels, height, width = image.shape
        rows, columns = self._native.patch_size
        whole = height > 0 and width > 0 and not height % rows and not width % columns
        return channels == self.channels and whole and image.numel() <= self.largest

    def shape(self, images: Sequence[Tensor]) -> tuple[int, ...]:
        return self.channels, sum(image.shape[1] * image.shape[2] for image in images)

    def join(self, images: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
        # Channels first, over all images: each is a view of the whole, and one operation normalises them all.
        return torch.cat([image.flatten(1) for image in images], dim=1, out=out)

    def batch(self, joined: Tensor, sizes: Sizes) -> MixedImages:
        return MixedImages(joined, sizes, self._native)


def collation(channels: int, size: tuple[int, int] | NativeSize) -> Collation:
    """For images of one size, or each of its own."""
    return EndToEnd(channels, size) if isinstance(size, NativeSize) else Stacked((channels, *size))
