"""How the samples of a step become one tensor, and that tensor a batch."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from triptych.data.collate import Join, collate
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.mixed_images import MixedImages
from triptych.features.native_size import NativeSize
from triptych.features.preprocess import Preprocess
from triptych.features.uneven import Uneven
from triptych.features.waveforms import Waveforms

Sizes = tuple[tuple[int, ...], ...]

_FLOAT = 4  # bytes
_USUAL_SECONDS = 30  # of a clip, where nothing bounds it
_AGREE = "the source's channels, the transform's image_size, and data.image_size, data.mean and data.std must agree"


@runtime_checkable
class Collation(Join, Protocol):
    """What a loader must know of its samples.

    Attributes:
        modality: what they are, the key of a batch.
        channels: of every sample.
        largest: bytes of a sample, of the largest where there is one.
        expected: the shape that a sample must have and what decides it, for messages.
    """

    modality: str
    channels: int
    largest: int
    expected: str

    def fits(self, sample: Tensor) -> bool:
        """Whether a transformed sample can be in a batch."""
        ...

    def batch(self, joined: Tensor, sizes: Sizes) -> Tensor | Uneven:
        """What training gets: the tensor with the extents of each sample beyond its first axis."""
        ...


class Stacked:
    """Images of one shape `(channels, height, width)`, stacked."""

    modality = "image"

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        self.channels = shape[0]
        self.largest = shape[0] * shape[1] * shape[2]
        self.expected = f"{shape} (channels, height, width) is expected: {_AGREE}"

    def fits(self, sample: Tensor) -> bool:
        return tuple(sample.shape) == self._shape

    def shape(self, images: Sequence[Tensor]) -> tuple[int, ...]:
        return (len(images), *self._shape)

    def join(self, images: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
        return collate(images, out)

    def batch(self, joined: Tensor, sizes: Sizes) -> Tensor:
        return joined


class EndToEnd:
    """Images of their own sizes in whole patches, end to end: see `MixedImages`."""

    modality = "image"

    def __init__(self, channels: int, native: NativeSize) -> None:
        rows, columns = native.patch_size
        self._native = native
        self.channels = channels
        self.largest = channels * native.max_tokens * rows * columns
        self.expected = (
            f"({channels}, multiple of {rows}, multiple of {columns}), of at most {native.max_tokens} patches, is "
            f"expected: {_AGREE}"
        )

    def fits(self, sample: Tensor) -> bool:
        channels, height, width = sample.shape
        rows, columns = self._native.patch_size
        whole = height > 0 and width > 0 and not height % rows and not width % columns
        return channels == self.channels and whole and sample.numel() <= self.largest

    def shape(self, images: Sequence[Tensor]) -> tuple[int, ...]:
        return self.channels, sum(image.shape[1] * image.shape[2] for image in images)

    def join(self, images: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
        # Channels first, over all images: each is a view of the whole, and one operation normalises them all.
        return torch.cat([image.flatten(1) for image in images], dim=1, out=out)

    def batch(self, joined: Tensor, sizes: Sizes) -> MixedImages:
        return MixedImages(joined, [(height, width) for height, width in sizes], self._native)


class Clips:
    """Clips ``(1, samples)`` of float32 of any length, end to end: see `Waveforms`. They travel as bytes.

    Args:
        preprocess: says which clips are too short, and how long one usually is at most.
        max_batch_seconds: of sound that one device holds at a time in training; None for no bound.
    """

    modality = "audio"
    channels = 1

    def __init__(self, preprocess: AudioPreprocess, max_batch_seconds: float | int | None = None) -> None:
        self._rate, self._least = preprocess.sample_rate, preprocess.front_end.min_samples
        self._most = None if max_batch_seconds is None else round(max_batch_seconds * self._rate)
        self.largest = _FLOAT * (preprocess.max_samples or _USUAL_SECONDS * self._rate)
        self.expected = f"float32 (1, samples) with at least {self._least} samples (one frame) is expected"

    def fits(self, sample: Tensor) -> bool:
        whole = sample.ndim == 2 and sample.shape[0] == 1 and sample.shape[1] >= self._least
        return whole and sample.dtype == torch.float32

    def shape(self, images: Sequence[Tensor]) -> tuple[int, ...]:
        return (_FLOAT * sum(clip.shape[1] for clip in images),)

    def join(self, images: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
        flat = [clip[0] for clip in images]
        if out is None:
            return torch.cat(flat).view(torch.uint8)
        torch.cat(flat, out=out.view(torch.float32))
        return out

    def batch(self, joined: Tensor, sizes: Sizes) -> Waveforms:
        return Waveforms(joined.view(torch.float32), [length for (length,) in sizes], self._rate, self._most)


def collation_of(preprocess: Preprocess | AudioPreprocess) -> Collation:
    """For what a model's preprocessing makes of samples."""
    if isinstance(preprocess, AudioPreprocess):
        return Clips(preprocess)
    return collation(len(preprocess.mean), preprocess.native or preprocess.image_size)


def collation(channels: int, size: tuple[int, int] | NativeSize) -> Collation:
    """For images of one size, or each of its own."""
    return EndToEnd(channels, size) if isinstance(size, NativeSize) else Stacked((channels, *size))
