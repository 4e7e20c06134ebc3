"""Worker processes and the buffers they share: what one running iteration holds."""

import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from triptych.data.collate import BufferRing
from triptych.data.samples import Fetched, StepSamples

PREFETCH = 2
"""Batches that a worker prepares ahead."""
_LOOK = 5.0
"""Seconds between two looks at the workers while a batch is waited for."""


class WorkerLost(Exception):
    """A worker process is gone, or gives nothing any more; `reading` are the samples that workers were reading."""

    def __init__(self, message: str, reading: list[int]) -> None:
        super().__init__(message)
        self.reading = reading


class Crew:
    """Processes that fetch steps, ahead of need, in order.

    Args:
        samples: gives a step's batch, once it is told the buffers and where to note what it reads.
        batch_bytes: of the largest batch's images.
        workers: processes; 0 fetches in this one.
        patience: seconds in which workers must give a batch, or at least begin with another sample; None for any.
    """

    def __init__(
        self,
        samples: Callable[[BufferRing | None, Tensor], StepSamples],
        batch_bytes: int,
        workers: int,
        patience: float | None = None,
    ) -> None:
        # Forked workers share buffers, cached images and the shard index; spawned ones would copy them.
        fork = sys.platform == "linux"
        lanes = max(workers, 1)
        # Those prepared ahead, one being filled, and two in the hands of the trainer.
        self.ring = BufferRing(lanes, PREFETCH + 3, batch_bytes) if fork or not workers else None
        self._reading = torch.full((lanes,), -1, dtype=torch.int64).share_memory_()
        self._steps = _Steps()
        self._patience = patience if workers else None
        with _no_advice():
            self._loader = self._new_loader(samples(self.ring, self._reading), workers, fork)

    def _new_loader(self, samples: StepSamples, workers: int, fork: bool) -> DataLoader[Fetched]:
        return DataLoader(
            samples,
            batch_size=None,
            collate_fn=_as_it_is,
            sampler=self._steps,
            num_workers=workers,
            prefetch_factor=PREFETCH if workers else None,
            # Not the patience itself: torch looks for the dead among its workers only when this is over.
            timeout=0 if self._patience is None else min(_LOOK, self._patience / 4),
            persistent_workers=workers > 0,
            multiprocessing_context="fork" if fork and workers else None,
            worker_init_fn=_start_worker,
            # Its own: each iteration draws a number, and the process's stream belongs to the model.
            generator=torch.Generator(),
        )

    def fetch(self, steps: range) -> Iterator[Fetched]:
        """What workers give for each of `steps`, in order.

        Raises:
            WorkerLost: a worker was killed, crashed, or hangs.
        """
        self._steps.steps = steps
        with _kept_signal_handler(), _no_advice():
            fetched = iter(self._loader)
        waiting = _Wait(self._reading, self._patience)
        while True:
            try:
                parcel = next(fetched)
            except StopIteration:
                return
            except (RuntimeError, ConnectionError, EOFError) as error:
                if isinstance(error, RuntimeError) and "DataLoader timed out" in str(error):
                    if not waiting.in_vain():
                        continue
                    for worker in getattr(fetched, "_workers", ()):
                        worker.kill()  # one that is stopped would not end when asked to
                    told = f"data workers have given nothing for {self._patience:.0f} s and are ended"
                    raise WorkerLost(told, waiting.reading) from error
                # The latter two: a batch too large for the buffers was on its way when its worker died.
                if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                    raise
                raise WorkerLost(f"a data worker died: {str(error).strip()}", waiting.reading) from error
            yield parcel
            waiting = _Wait(self._reading, self._patience)


class _Wait:
    """For one batch: over when workers have not begun with another sample for `patience` seconds."""

    def __init__(self, reading: Tensor, patience: float | None) -> None:
        self._samples, self._patience = reading, patience
        self._seen, self._since = self.reading, time.monotonic()

    @property
    def reading(self) -> list[int]:
        """The samples that workers last began with."""
        return [index for index in self._samples.tolist() if index >= 0]

    def in_vain(self) -> bool:
        """Whether there is no more hope."""
        reading, now = self.reading, time.monotonic()
        if reading != self._seen:
            self._seen, self._since = reading, now
        return self._patience is not None and now - self._since >= self._patience


class _Steps(Sampler[int]):
    """The steps that the next iteration shall fetch."""

    def __init__(self) -> None:
        self.steps = range(0)

    def __iter__(self) -> Iterator[int]:
        return iter(self.steps)


def _as_it_is(fetched: Any) -> Any:
    """torch's default would go through the whole parcel and turn its tuples to lists."""
    return fetched


def _start_worker(worker: int) -> None:
    """Signals to stop often go to the whole process group (Ctrl-C, service managers, schedulers): the main process
    decides what they mean, still needs batches until the step is saved, and then ends the workers itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _once)


def _once(number: int, frame: FrameType | None) -> None:
    """The first SIGTERM may be the group's; one that follows is the main process's word to a worker that hangs."""
    signal.signal(number, signal.SIG_DFL)


@contextmanager
def _no_advice() -> Iterator[None]:
    """torch advises, once a loader and once an iteration, against more workers than cores; the user has chosen."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


@contextmanager
def _kept_signal_handler() -> Iterator[None]:
    """Keep torch from raising a worker's death out of a signal handler.

    That exception would surface anywhere, in the midst of an optimizer step too. Without it the death is found by
    whoever waits for the next batch, within five seconds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler)
