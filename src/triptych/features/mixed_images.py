"""A batch of images that each have their own size."""

from collections.abc import Callable, Iterator, Sequence
from typing import overload

import torch
from jaxtyping import Shaped
from torch import Tensor

from triptych.features.native_size import NativeSize
from triptych.features.uneven import Uneven

Sizes = tuple[tuple[int, int], ...]


class MixedImages(Uneven):
    """Images ``(channels, height, width)`` of differing sizes in one tensor, so that a batch is one transfer.

    ``pixels`` has the channels first and then the pixels of all images end to end, row by row: an image is a view of
    it, and so is a run of images. ``sizes`` are the heights and widths; ``native`` says how large a patch is, and by
    which route a tower takes the batch.

    An index gives an image; a slice or a list of indices gives those images as a batch.
    """

    def __init__(self, pixels: Shaped[Tensor, "channels total"], sizes: Sequence[tuple[int, int]], native: NativeSize):
        self.pixels = pixels
        self.sizes: Sizes = tuple(sizes)
        self.native = native
        self._starts = [0]
        for height, width in self.sizes:
            self._starts.append(self._starts[-1] + height * width)
        if self._starts[-1] != pixels.shape[1]:
            raise ValueError(f"the sizes add up to {self._starts[-1]} pixels, and there are {pixels.shape[1]}")

    @classmethod
    def of(cls, images: Sequence[Tensor], native: NativeSize) -> "MixedImages":
        """The images, at least one, in one tensor."""
        pixels = torch.cat([image.flatten(1) for image in images], dim=1)
        return cls(pixels, [(image.shape[1], image.shape[2]) for image in images], native)

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice | list[int]) -> "MixedImages": ...
    def __getitem__(self, index: int | slice | list[int]) -> "Tensor | MixedImages":
        if isinstance(index, int):
            place = range(len(self))[index]
            return self.pixels[:, self._starts[place] : self._starts[place + 1]].unflatten(1, self.sizes[place])
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                stop = max(start, stop)
                pixels = self.pixels[:, self._starts[start] : self._starts[stop]]
                return MixedImages(pixels, self.sizes[start:stop], self.native)
            index = list(range(start, stop, step))
        parts = [self[place].flatten(1) for place in index]
        pixels = torch.cat(parts, dim=1) if parts else self.pixels[:, :0]
        return MixedImages(pixels, [self.sizes[place] for place in index], self.native)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[place] for place in range(len(self)))

    @property
    def device(self) -> torch.device:
        """Where the pixels are."""
        return self.pixels.device

    @property
    def tokens(self) -> tuple[int, ...]:
        """How many patches each image has."""
        rows, columns = self.native.patch_size
        return tuple((height // rows) * (width // columns) for height, width in self.sizes)

    def map(self, function: Callable[[Tensor], Tensor]) -> "MixedImages":
        """What `function` makes of the pixels, given to it as one image of one row, ``(1, channels, 1, total)``."""
        return MixedImages(function(self.pixels[None, :, None])[0, :, 0], self.sizes, self.native)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "MixedImages":
        """The batch on a device."""
        return MixedImages(self.pixels.to(device, non_blocking=non_blocking), self.sizes, self.native)

    def type_as(self, dtype: torch.dtype) -> "MixedImages":
        """The same images as numbers of another type."""
        return MixedImages(self.pixels.to(dtype), self.sizes, self.native)

    def pin_memory(self) -> "MixedImages":
        """The batch in memory that a GPU copies from by itself."""
        return MixedImages(self.pixels.pin_memory(), self.sizes, self.native)

    def clone(self) -> "MixedImages":
        """The batch in memory of its own."""
        return MixedImages(self.pixels.clone(), self.sizes, self.native)

    def blank(self) -> "MixedImages":
        """One image of one patch, of zeros."""
        size = self.native.patch_size
        return MixedImages(self.pixels.new_zeros(self.pixels.shape[0], size[0] * size[1]), [size], self.native)

    def cuts(self, most: int | None = None) -> list[slice]:
        """Runs of neighbours, each of at most `most` images and of no more tokens than `native.max_batch_tokens`, those
        of the padding counted where the route has it. An image is never cut.
        """
        budget, tokens = self.native.max_batch_tokens, self.tokens
        runs: list[slice] = []
        start, held, longest = 0, 0, 0
        for place, count in enumerate(tokens):
            held, longest = held + count, max(longest, count)
            full = longest * (place - start + 1) if self.native.route == "padded" else held
            if place > start and ((budget and full > budget) or (most and place - start >= most)):
                runs.append(slice(start, place))
                start, held, longest = place, count, count
        return [*runs, slice(start, len(tokens))] if tokens else []
