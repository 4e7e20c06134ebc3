"""One step's samples, read, augmented and stacked: the work of a loader worker."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from triptych.data.collate import BufferRing
from triptych.data.collation import Collation, Sizes
from triptych.data.decode import to_tensor
from triptych.data.order import Order, mixed_seed
from triptych.data.source import BadSample, Label, Source
from triptych.data.transforms import Transform
from triptych.errors import UserError


class Failure(NamedTuple):
    """A sample that could not be read: its number, name and the reason."""

    sample: int
    name: str
    reason: str


class Fetched(NamedTuple):
    """What a worker sends for one step.

    Labels and indices go as NumPy arrays, whose bytes travel with the message: a tensor would be fetched from the
    worker by a second connection, which fails where the worker has died meanwhile.

    Attributes:
        labels: int64 `(batch,)` or float32 `(batch, classes)`; None where no sample could be read.
        indices: int64 `(batch,)`.
        images: a buffer's slot that holds them, or, where none was free, the images themselves.
        shape: of the tensor that holds the images.
        sizes: extents of the images beyond their channels.
        failures: samples that could not be read.
        seen: samples tried.
        error: a user's mistake that ends the run, as its message.
    """

    labels: np.ndarray | None = None
    indices: np.ndarray | None = None
    images: int | Tensor = 0
    shape: tuple[int, ...] = ()
    sizes: Sizes = ()
    failures: tuple[Failure, ...] = ()
    seen: int = 0
    error: str | None = None


class StepSamples(Dataset[Fetched]):
    """Batches by global step. Holds no position: what it gives depends on its arguments and the step alone.

    Args:
        source: the data set.
        order: which samples make up a step.
        transform: uint8 image to uint8 image of a shape that the collation takes.
        collation: makes one tensor of the images.
        ring: buffers for the images, or None.
        reading: one int64 a worker; the sample that it is reading stands there, for a message should it die.
        rank: of this process.
        world_size: processes that share a step.
        substitute: where every sample of a step is bad, the next step's samples of the same epoch take their place,
            so that the number of steps holds; otherwise that step has no batch, or an empty one where others share it.
    """

    def __init__(
        self,
        source: Source,
        order: Order,
        transform: Transform,
        collation: Collation,
        ring: BufferRing | None,
        reading: Tensor,
        rank: int,
        world_size: int,
        substitute: bool,
    ) -> None:
        self.source = source
        self.order = order
        self.transform = transform
        self.collation = collation
        self.ring = ring
        self.reading = reading
        self.rank = rank
        self.world_size = world_size
        self.substitute = substitute

    def __getitem__(self, step: int) -> Fetched:
        with untouched_generator():
            try:
                return self._fetch(step)
            except UserError as error:
                # Raised again in the main process: a worker's exception would arrive wrapped in its traceback.
                return Fetched(error=str(error))

    def _fetch(self, step: int) -> Fetched:
        epoch = self.order.epoch(step)
        steps = self.order.steps_per_epoch
        failures: list[Failure] = []
        seen = 0
        for ahead in range(steps if self.substitute else 1):
            indices = self.order.indices(epoch * steps + (step + ahead) % steps, self.rank, self.world_size).tolist()
            if ahead and not indices:
                continue
            images, labels, read = [], [], []
            for index in indices:
                sample = index % self.order.total
                try:
                    image, label = self._sample(sample, mixed_seed(self.order.seed, epoch, index))
                except BadSample as error:
                    failures.append(Failure(sample, self.source.name(sample), str(error)))
                    continue
                images.append(image)
                labels.append(label)
                read.append(sample)
            seen += len(indices)
            if read or not indices:
                return self._joined(images, labels, read)._replace(failures=tuple(failures), seen=seen)
        # Beside other processes an empty batch: a forward pass may be an act of all of them.
        found = Fetched() if self.substitute or self.world_size == 1 else self._joined([], [], [])
        return found._replace(failures=tuple(failures), seen=seen)

    def _sample(self, index: int, seed: int) -> tuple[Tensor, Label]:
        worker = get_worker_info()
        self.reading[worker.id if worker is not None else 0] = index
        # Before the source is read: one that draws (a caption of several) takes its seed from here too.
        torch.default_generator.manual_seed(seed)
        picture, label = self.source.read(index)
        image = to_tensor(picture, self.collation.channels) if isinstance(picture, Image.Image) else picture
        image = self.transform(image)
        if not self.collation.fits(image):
            raise UserError(
                f"{self.source.name(index)} is {tuple(image.shape)} after its transform, and {self.collation.expected}"
            )
        return image, label

    def _joined(self, images: list[Tensor], labels: list[Label], indices: list[int]) -> Fetched:
        shape = self.collation.shape(images)
        worker = get_worker_info()
        fits = self.ring is not None and math.prod(shape) <= self.ring.size
        slot = self.ring.take(worker.id if worker is not None else 0) if self.ring and fits and images else None
        if self.ring is not None and slot is not None:
            self.ring.fill(slot, images, self.collation)
            joined = slot
        else:
            joined = self.collation.join(images) if images else torch.empty(shape, dtype=torch.uint8)
        sizes = tuple(tuple(image.shape[1:]) for image in images)
        return Fetched(_labels(labels), np.array(indices, dtype=np.int64), joined, shape, sizes)


def _labels(labels: list[Label]) -> np.ndarray:
    if labels and isinstance(labels[0], Tensor):
        return np.stack([label.numpy() for label in labels if isinstance(label, Tensor)])
    return np.array(labels, dtype=np.int64)


@contextmanager
def untouched_generator() -> Iterator[None]:
    """torch's default CPU generator comes out as it went in: without workers, the model's draws share it."""
    state = torch.default_generator.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
