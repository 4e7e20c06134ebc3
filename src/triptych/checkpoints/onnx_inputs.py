"""What an exported graph takes: pictures, or spectrograms."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.export import Dim

from triptych.models.classifier import Classifier
from triptych.towers.audio import AudioTower

BATCHES = (1, 3)  # that a graph is checked with


class Portable(nn.Module, ABC):
    """What is exported: a classifier, and what stands before it in the graph. ``dynamic`` leaves the size of an input
    free, beside the size of the batch.
    """

    input: ClassVar[str]
    """The name of the graph's input."""
    free: ClassVar[str]
    """What may be of any size, for messages."""

    def __init__(self, model: Classifier, dynamic: bool) -> None:
        super().__init__()
        self.model = model
        self.dynamic = dynamic

    @abstractmethod
    def traced(self) -> Tensor:
        """An input to trace the graph with, of two samples. No size in it is the model's own where that is free, nor 1:
        nothing is taken for fixed.
        """

    @abstractmethod
    def axes(self) -> dict[int, tuple[str, Any]]:
        """The free axes but for the batch: their names, and what they are to `torch.export`."""

    @abstractmethod
    def samples(self, batch: int) -> list[Tensor]:
        """Random inputs to check the graph with, the first of the model's own size."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the file tells of its input."""

    def examples(self) -> list[Tensor]:
        """All that the graph is checked with."""
        return [sample for samples in zip(*map(self.samples, BATCHES), strict=True) for sample in samples]


class PortableImages(Portable):
    """Images; with ``normalise`` as uint8 pixels, normalised in the graph."""

    input = "image"
    free = "images of any size"

    def __init__(self, model: Classifier, dynamic: bool, normalise: bool) -> None:
        super().__init__(model, dynamic)
        self.normalise = normalise

    def forward(self, image: Tensor) -> Tensor:
        return self.model(self.model.preprocess.normalise(image) if self.normalise else image)

    def traced(self) -> Tensor:
        rows, columns = self._grid
        return self._example(2, (rows + 1, columns + 2) if self.dynamic else (rows, columns))

    def axes(self) -> dict[int, tuple[str, Any]]:
        patch, found = self.model.tower.patch, {}
        for axis, (name, whole, step) in enumerate(
            zip(("rows", "columns"), patch.patch_size, patch.stride, strict=True), start=2
        ):
            count = step * Dim(name, min=1, max=2**12)
            found[axis] = name, count if whole == step else count + (whole - step)
        return found if self.dynamic else {}

    def samples(self, batch: int) -> list[Tensor]:
        rows, columns = self._grid
        grids = [(rows, columns), (rows + 2, max(1, columns - 1))] if self.dynamic else [(rows, columns)]
        return [self._example(batch, grid) for grid in grids]

    def facts(self) -> dict[str, Any]:
        tower = self.model.tower
        kind = "uint8 pixels, 0 to 255" if self.normalise else "float32, (pixels / 255 - mean) / std"
        height, width = tower.image_size
        rows, columns = tower.patch.stride
        free = f"; or any size that patches cover, in steps of {rows} x {columns}" if self.dynamic else ""
        return {
            "input": f"{self.input}: {kind}, (batch, {tower.channels}, {height}, {width}){free}",
            "normalised_inside": self.normalise,
        }

    @property
    def _grid(self) -> tuple[int, int]:
        """Rows and columns of patches at the model's own size."""
        return self.model.tower.patch.grid(self.model.tower.image_size)

    def _example(self, batch: int, grid: tuple[int, int]) -> Tensor:
        """A random input of `grid` patches, drawn from a generator of its own."""
        patch, generator = self.model.tower.patch, torch.Generator().manual_seed(0)
        height, width = (
            size + step * (count - 1) for size, step, count in zip(patch.patch_size, patch.stride, grid, strict=True)
        )
        pixels = torch.randint(
            256, (batch, self.model.tower.channels, height, width), dtype=torch.uint8, generator=generator
        )
        return pixels if self.normalise else self.model.preprocess.normalise(pixels)


class PortableSpectrograms(Portable):
    """Normalised log-mel spectrograms, as the model's front end makes them, of at least one patch."""

    input = "mel"
    free = "clips of any length"

    def forward(self, mel: Tensor) -> Tensor:
        return self.model(mel)

    def traced(self) -> Tensor:
        tower = self.model.tower
        return self._example(2, tower.frames + tower.patch.stride[1] + 1 if self.dynamic else tower.frames)

    def axes(self) -> dict[int, tuple[str, Any]]:
        # The tracer tells one moment from several, and what it makes of several holds for one too: that is checked.
        least = self._least + self.model.tower.patch.stride[1]
        return {1: ("frames", Dim("frames", min=least, max=2**20))} if self.dynamic else {}

    def samples(self, batch: int) -> list[Tensor]:
        frames = self.model.tower.frames
        sizes = [frames, self._least, 2 * frames + 3] if self.dynamic else [frames]
        return [self._example(batch, size) for size in sizes]

    def facts(self) -> dict[str, Any]:
        tower: AudioTower = self.model.tower
        free = f"; or any number of frames from {self._least}" if self.dynamic else ""
        return {
            "input": f"{self.input}: float32, normalised log-mel, (batch, {tower.frames}, {tower.mel_bins}){free}",
            "normalised_inside": False,
        }

    @property
    def _least(self) -> int:
        """The frames of one patch: a shorter clip must be filled up to it before."""
        return self.model.tower.patch.patch_size[1]

    def _example(self, batch: int, frames: int) -> Tensor:
        return torch.randn(batch, frames, self.model.tower.mel_bins, generator=torch.Generator().manual_seed(0))
