"""Samples to a batch at the speed of memory: one stack, into memory that has been used before.

A fresh batch of 256 x 3 x 224 x 224 bytes costs some 9,400 page faults, several times the copy itself. So batches are
stacked into a ring of buffers that are handed out again once nobody holds them.
"""

import mmap
import weakref
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import UInt8
from torch import Tensor


@runtime_checkable
class Join(Protocol):
    """How images become one tensor."""

    def shape(self, images: Sequence[Tensor]) -> tuple[int, ...]:
        """Of the tensor that holds the images, be there none."""
        ...

    def join(self, images: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
        """The images, at least one, in a tensor of that shape."""
        ...


class BufferRing:
    """Byte buffers for batches, shared with forked workers, each free again when the last tensor over it has died.

    Workers mark a slot taken, fill it and send its number; the main process makes a tensor of it and marks the slot
    free when that tensor (and every view of it) is gone. Each flag is set by one side and cleared by the other, and
    each worker has slots of its own, so no lock is needed, and a worker that is killed leaves none held. Anonymous
    memory, unlike `/dev/shm`, is not limited to 64 MB inside a container.

    Args:
        lanes: one for each worker (at least 1: the main process itself).
        slots: buffers a lane.
        size: bytes of a buffer.
    """

    def __init__(self, lanes: int, slots: int, size: int) -> None:
        self.slots = slots
        self.size = size
        self._taken = mmap.mmap(-1, lanes * slots)
        # One mapping a slot: untouched ones cost no memory, and each is returned to the system as a whole.
        self._memory = [mmap.mmap(-1, max(size, 1)) for _ in range(lanes * slots)]

    def take(self, lane: int) -> int | None:
        """A free slot of `lane`, now taken; None where all of them are in use or were never given back."""
        for slot in range(lane * self.slots, (lane + 1) * self.slots):
            if not self._taken[slot]:
                self._taken[slot] = 1
                return slot
        return None

    def fill(self, slot: int, images: Sequence[Tensor], collation: Join | None = None) -> None:
        """Stack `images` into a taken slot, or join them as a collation does."""
        shape = (len(images), *images[0].shape) if collation is None else collation.shape(images)
        join = collate if collation is None else collation.join
        join(images, out=self._tensor(memoryview(self._memory[slot]), shape))

    def hand_out(self, slot: int, shape: tuple[int, ...]) -> UInt8[Tensor, "..."]:
        """The filled slot as a tensor of `shape`; its death frees the slot."""
        window = memoryview(self._memory[slot])
        # torch.frombuffer holds `window` for as long as any tensor shares the storage.
        weakref.finalize(window, self._release, slot).atexit = False
        return self._tensor(window, shape)

    def _release(self, slot: int) -> None:
        self._taken[slot] = 0

    @staticmethod
    def _tensor(window: memoryview, shape: tuple[int, ...]) -> Tensor:
        count = 1
        for extent in shape:
            count *= extent
        return torch.frombuffer(window, dtype=torch.uint8, count=count).view(shape)


def collate(images: Sequence[Tensor], out: Tensor | None = None) -> UInt8[Tensor, "batch channels height width"]:
    """Images of one shape `(channels, height, width)` stacked into a batch.

    Args:
        images: uint8, at least one.
        out: contiguous memory of the batch's shape to write to; None allocates.
    """
    return torch.stack(list(images), out=out)
