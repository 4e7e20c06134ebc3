"""Batches by step, from any step on."""

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from triptych.data.collate import BufferRing
from triptych.data.collation import Collation
from triptych.data.crew import Crew, WorkerLost
from triptych.data.order import Order
from triptych.data.samples import Failure, Fetched, StepSamples
from triptych.data.source import Source
from triptych.data.transforms import Transform
from triptych.errors import UserError

log = logging.getLogger("triptych.data")

Batch = dict[str, Any]
"""Tensors, and `Uneven` where samples have their own sizes."""

FEW_SAMPLES = 1000
"""A share of bad samples is taken over at least this many (or the whole data set), lest the first one stop a run."""


class BadSamples:
    """Counts and names samples that could not be read, and ends the run when they are too many.

    Args:
        size: samples of the data set.
        max_fraction: of the samples seen; more end the run.
    """

    def __init__(self, size: int, max_fraction: float | int) -> None:
        self.max_fraction = max_fraction
        self._size = size
        self._visits = 0
        self._failures: dict[int, Failure] = {}

    @property
    def count(self) -> int:
        """Different samples that could not be read."""
        return len(self._failures)

    @property
    def seen(self) -> int:
        """Different samples that were tried: epochs visit the same ones again."""
        return min(self._visits, self._size)

    def report(self, failures: tuple[Failure, ...], visits: int) -> None:
        """Add what one batch of `visits` samples met; each bad sample is named in the log the first time.

        Raises:
            UserError: the share of bad samples is above the limit.
        """
        self._visits += visits
        for failure in failures:
            if failure.sample not in self._failures:
                self._failures[failure.sample] = failure
                log.warning("skipped sample %d, %s: %s", failure.sample, failure.name, failure.reason)
        if self.count > self.max_fraction * max(self.seen, min(self._size, FEW_SAMPLES)):
            first = "; ".join(f"{failure.name}: {failure.reason}" for failure in list(self._failures.values())[:3])
            raise UserError(
                f"{self.count} of {self.seen} samples seen ({self.count / self.seen:.1%}) could not be read, above "
                f"data.max_bad_fraction={self.max_fraction}. First: {first}. Mend or remove them, or raise the limit"
            )


class StepLoader:
    """Iterable of batches `{"image" or "audio", "label", "index"}`, one a step; one iteration is one epoch, or the rest
    of one.

    With `stop_step` set, one iteration is the rest of the whole run instead, up to that step, across epochs without a
    pause between them.

    Batch `n` is the same for any number of workers and wherever iteration began. `len()` is always the whole epoch's.
    Prefetching is no state: set `start_step` to the trainer's global step after a restart, and the next iteration
    begins there and ends with that epoch. Each iteration after it is the next epoch. An iteration begins when its
    first batch is asked for. With `patience` set, workers that give nothing for so many seconds end the run.

    Args:
        source: the data set.
        order: which samples make up a step.
        transform: for each sample, seeded by (order.seed, epoch, sample).
        collation: makes a batch of the images that the transform gives.
        bad: counts samples that cannot be read.
        workers: processes that read; 0 reads in this one.
        training: epochs follow each other, and a step whose samples are all bad gets the next step's; otherwise every
            iteration is the first epoch, and such a step is left out (of a slice: an empty batch).
        rank: of this process, which gets its slice of each step.
        world_size: processes that share a step. A slice has no samples where a short last batch has fewer samples
            than there are ranks.
    """

    def __init__(
        self,
        source: Source,
        order: Order,
        transform: Transform,
        collation: Collation,
        bad: BadSamples,
        workers: int = 0,
        training: bool = True,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.source = source
        self.order = order
        self.transform = transform
        self.collation = collation
        self.bad = bad
        self.workers = workers
        self.training = training
        self.rank = rank
        self.world_size = world_size
        self.start_step = 0
        self.stop_step: int | None = None
        self.patience: float | None = None
        self._pin = torch.cuda.is_available()
        self._idle: Crew | None = None

    def __len__(self) -> int:
        return self.order.steps_per_epoch if self.stop_step is None else self.stop_step

    def __iter__(self) -> Iterator[Batch]:
        start = self.start_step if self.training else 0
        stop = (self.order.epoch(start) + 1) * len(self) if self.stop_step is None else self.stop_step
        self.start_step = stop
        # A crew comes back only from an epoch that ran to its end: one left in the midst still has batches on the way.
        crew, self._idle = self._idle or self._new_crew(), None
        try:
            for fetched in crew.fetch(range(start, stop)):
                batch = self._unpack(fetched, crew.ring)
                if batch is not None:
                    yield batch
        except WorkerLost as lost:
            names = ", ".join(self.source.name(index) for index in lost.reading)
            raise UserError(
                f"{lost}. The workers last read {names}. A decoder may have crashed or hung on one of these (remove "
                "it), the storage may hang (raise trainer.timeout), or memory ran out (set data.workers lower)"
            ) from lost
        self._idle = crew

    def state_dict(self) -> dict[str, Any]:
        """Empty: the trainer's global step is the whole state, and the data module keeps it.

        Lightning takes a loader without this method for one that cannot go on in the midst of an epoch, and warns.
        """
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to load: see `state_dict`."""

    def _new_crew(self) -> Crew:
        largest = -(-min(self.order.batch_size, self.order.size) // self.world_size)
        return Crew(self._samples, largest * self.collation.largest, self.workers, self.patience)

    def _samples(self, ring: BufferRing | None, reading: Tensor) -> StepSamples:
        return StepSamples(
            source=self.source,
            order=self.order,
            transform=self.transform,
            collation=self.collation,
            ring=ring,
            reading=reading,
            rank=self.rank,
            world_size=self.world_size,
            substitute=self.training,
        )

    def _unpack(self, fetched: Fetched, ring: BufferRing | None) -> Batch | None:
        if fetched.error is not None:
            raise UserError(fetched.error)
        images = fetched.images
        if fetched.labels is not None and isinstance(images, int) and ring is not None:
            images = ring.hand_out(images, fetched.shape)
        self.bad.report(fetched.failures, fetched.seen)
        if fetched.labels is None or fetched.indices is None or not isinstance(images, Tensor):
            if self.training:
                raise UserError(f"none of the {len(self.source)} samples can be read; the log names them")
            return None
        batch: Batch = {
            self.collation.modality: self.collation.batch(images, fetched.sizes),
            "label": torch.from_numpy(fetched.labels),
            "index": torch.from_numpy(fetched.indices),
        }
        return {key: value.pin_memory() for key, value in batch.items()} if self._pin else batch
