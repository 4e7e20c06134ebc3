"""Decoded samples kept in memory: on a small machine decoding competes with training for the same cores."""

import logging
import os
from pathlib import Path

import torch
from torch import Tensor

from triptych.data.decode import to_tensor
from triptych.data.source import BadSample, Label, Source
from triptych.errors import UserError

log = logging.getLogger("triptych.data")

MEMORY_FRACTION = 0.5
"""Part of the machine's memory that decoded images may take."""


class CachedSource:
    """All images of a source, decoded once, before workers start; augmentation still happens every epoch.

    The pixels lie in one tensor that is never written again, so forked workers share its pages and nothing is copied.
    Samples that cannot be read stay bad samples, with their reason, and are reported when their turn comes.

    Args:
        source: the data set to keep.

    Raises:
        UserError: the decoded images would take more than half of the machine's memory.
    """

    def __init__(self, source: Source) -> None:
        self.classes = source.classes
        self.multilabel = source.multilabel
        self._source = source
        self._labels: list[Label] = []
        self._reasons: dict[int, str] = {}
        self._shapes: list[torch.Size] = []
        self._type = torch.uint8
        pixels = bytearray()
        starts = [0]
        for index in range(len(source)):
            try:
                image, label = source.read(index)
                image = image if isinstance(image, Tensor) else to_tensor(image)
            except BadSample as error:
                self._reasons[index] = str(error)
                image, label = torch.empty(0, 0, 0, dtype=torch.uint8), -1
            if image.numel():
                self._type = image.dtype
            self._shapes.append(image.shape)
            self._labels.append(label)
            pixels += image.contiguous().numpy().tobytes()
            starts.append(len(pixels))
            _check_memory(len(pixels), index + 1, len(source))
        self._starts = starts
        self._pixels = torch.frombuffer(pixels, dtype=torch.uint8) if pixels else torch.empty(0, dtype=torch.uint8)
        log.debug("%d decoded images kept in memory, %.1f MB", len(source), len(pixels) / 1e6)

    def __len__(self) -> int:
        return len(self._labels)

    def name(self, index: int) -> str:
        """Name that the source itself gives."""
        return self._source.name(index)

    def read(self, index: int) -> tuple[Tensor, Label]:
        """A view of the kept pixels, not to be written to, and the label.

        Raises:
            BadSample: this sample could not be decoded.
        """
        if index in self._reasons:
            raise BadSample(self._reasons[index])
        pixels = self._pixels[self._starts[index] : self._starts[index + 1]]
        return pixels.view(self._type).view(self._shapes[index]), self._labels[index]

    def target(self, index: int) -> Label:
        """The label.

        Raises:
            BadSample: this sample could not be decoded.
        """
        if index in self._reasons:
            raise BadSample(self._reasons[index])
        return self._labels[index]


def _check_memory(taken: int, done: int, count: int) -> None:
    """Stop as soon as the images read so far foretell that all of them will not fit."""
    if done % 64 and done != count:
        return
    limit = MEMORY_FRACTION * _memory()
    expected = taken / done * count
    if expected > limit:
        raise UserError(
            f"data.cache=true would keep {count} decoded samples, about {expected / 1e9:.1f} GB, in memory; "
            f"half of this machine's memory is {limit / 1e9:.1f} GB: set data.cache=false"
        )


def _memory() -> int:
    """Bytes of memory that this process may have: the machine's, or less inside a container."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return machine
    return min(machine, int(limit)) if limit.isdecimal() else machine
