"""From the number of a sample to the sample itself, and to the picture that stands for it."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from triptych.analysis.results import ImageOf
from triptych.analysis.sound_picture import picture_of

SampleOf = Callable[[int], Tensor]


@runtime_checkable
class ReadsSamples(Protocol):
    """A data set that gives a sample and its label by number."""

    @property
    def classes(self) -> list[str]: ...

    def read(self, index: int) -> tuple[Any, Any]: ...


def roads(source: ReadsSamples, preprocess: Any) -> tuple[ImageOf, SampleOf]:
    """To the picture that stands for a sample of a data set, by its number, and to the sample itself."""

    def sample(index: int) -> Tensor:
        return as_tensor(source.read(index)[0])

    return lambda index: picture_of(sample(index), preprocess), sample


def as_tensor(picture: Tensor | Image.Image) -> Tensor:
    """An image as uint8 `(channels, height, width)`, from a PIL image of any mode; a tensor as it is."""
    if isinstance(picture, Tensor):
        return picture
    pixels = np.asarray(picture.convert("L" if picture.mode in ("L", "1", "I;16") else "RGB"))
    return torch.from_numpy(pixels.copy()).reshape(pixels.shape[0], pixels.shape[1], -1).permute(2, 0, 1)
