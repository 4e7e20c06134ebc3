"""Which samples make up a step. A pure function of (seed, epoch, step): workers, ranks and restarts have no say."""

import hashlib
import struct

import numpy as np
from jaxtyping import Int64

from triptych.errors import UserError


def mixed_seed(*parts: int) -> int:
    """One 64-bit seed out of several signed integers, the same on every machine and in every version.

    Sums or xors of small integers collide (seed 1 epoch 2 with seed 2 epoch 1); a hash does not.
    """
    packed = struct.pack(f"<{len(parts)}q", *parts)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little")


class Order:
    """The samples of every step of training: epoch after epoch, each sample exactly once an epoch.

    Step `n` (counted from the start of training, 0-based) lies in epoch `n // steps_per_epoch`. The last batch of an
    epoch is short where `batch_size` does not divide `size`. The shuffle sorts raw PCG64 words, whose stream NumPy
    guarantees never to change, so that an order outlives an upgrade.

    A sample that an epoch visits again, as other orders do, has its number plus a multiple of ``total``, the samples in
    the data set, so that its second visit is augmented anew.

    Args:
        size: samples of an epoch, here all of the data set.
        batch_size: global batch, the samples of one optimizer step over all ranks.
        seed: of the shuffle.
        shuffle: False gives 0, 1, 2, ... in every epoch.

    Raises:
        UserError: `size` or `batch_size` is below 1.
    """

    def __init__(self, size: int, batch_size: int, seed: int = 0, shuffle: bool = True) -> None:
        if size < 1:
            raise UserError(f"the data set has {size} samples; at least 1 is needed")
        if batch_size < 1:
            raise UserError(f"data.batch_size is {batch_size}; it must be at least 1")
        self.size = self.total = size
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self._epoch = -1
        self._permutation = np.arange(size, dtype=np.int64)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, the short last one included."""
        return -(-self.size // self.batch_size)

    def epoch(self, step: int) -> int:
        """The epoch in which global step `step` lies."""
        if step < 0:
            raise ValueError(f"steps are counted from 0, not {step}")
        return step // self.steps_per_epoch

    def permutation(self, epoch: int) -> Int64[np.ndarray, " size"]:
        """All samples in the order in which `epoch` visits them; the last one asked for is kept."""
        if self.shuffle and epoch != self._epoch:
            words = np.random.PCG64(mixed_seed(self.seed, epoch)).random_raw(self.size)
            self._permutation = np.argsort(words, kind="stable")
            self._epoch = epoch
        return self._permutation

    def indices(self, step: int, rank: int = 0, world_size: int = 1) -> Int64[np.ndarray, " batch"]:
        """Samples of global step `step`, or the slice of them that `rank` of `world_size` takes.

        The slices of all ranks, laid end to end, are the global batch. A slice is empty where a short last batch has
        fewer samples than there are ranks.
        """
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is outside 0..{world_size - 1}")
        epoch = self.epoch(step)
        start = (step - epoch * self.steps_per_epoch) * self.batch_size
        batch = self.permutation(epoch)[start : start + self.batch_size]
        return batch[rank * len(batch) // world_size : (rank + 1) * len(batch) // world_size]
