"""How fast training goes, apart from validation."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from lightning.pytorch import Trainer
from lightning.pytorch.profilers import PassThroughProfiler, Profiler
from torch import Tensor

_WINDOW = 10.0  # seconds that "recent" means
_FETCH = "train_dataloader_next"


class LoaderClock(Profiler):
    """Measures how long training waits for its loader; takes the place of Lightning's empty profiler.

    Lightning announces each fetch of a batch to its profiler, the only place where the wait can be told from the
    logging and hooks around it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._since = 0.0
        self.waited = 0.0

    def start(self, action_name: str) -> None:
        """A fetch begins."""
        if action_name.endswith(_FETCH):
            self._since = self._clock()

    def stop(self, action_name: str) -> None:
        """A fetch has ended."""
        if action_name.endswith(_FETCH):
            self.waited += self._clock() - self._since

    def summary(self) -> str:
        """Nothing to print."""
        return ""

    @classmethod
    def attach(cls, trainer: Trainer) -> "LoaderClock | None":
        """Put a clock into the trainer, or find the one there; None where the user has another profiler."""
        present = getattr(trainer, "profiler", None)
        if isinstance(present, cls):
            return present
        if not isinstance(present, PassThroughProfiler):
            return None
        clock = cls()
        cast(Any, trainer).profiler = clock  # Lightning sets the attribute out of sight of type checkers
        return clock


@dataclass(frozen=True)
class Pace:
    """How training went lately."""

    samples_per_second: float
    seconds_per_step: float
    wait_share: float | None


class Throughput:
    """A clock of training: steps, samples and seconds, validation taken out.

    The first step of a process is not counted: it starts workers, compiles and picks kernels.

    Args:
        clock: seconds that only grow; a test gives its own.
        loader: tells the time waited for data, if there is one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, loader: LoaderClock | None = None) -> None:
        self._clock = clock
        self._loader = loader
        self._started: float | None = None
        self._paused_at: float | None = None
        self._paused = 0.0
        self.steps = 0
        self.samples = 0
        self.seconds = 0.0
        self._recent: deque[tuple[float, int, int, float]] = deque()

    def step(self, samples: int) -> None:
        """One step of `samples` samples has ended."""
        now = self._clock()
        if self._started is None:
            self._started = now
        else:
            self.steps += 1
            self.samples += samples
            self.seconds = now - self._started - self._paused
        waited = self._loader.waited if self._loader is not None else 0.0
        self._recent.append((self.seconds, self.steps, self.samples, waited))
        while len(self._recent) > 2 and self._recent[1][0] < self.seconds - _WINDOW:
            self._recent.popleft()

    def pause(self) -> None:
        """Validation begins."""
        if self._paused_at is None and self._started is not None:
            self._paused_at = self._clock()

    def resume(self) -> None:
        """Validation has ended."""
        if self._paused_at is not None:
            self._paused += self._clock() - self._paused_at
            self._paused_at = None

    @property
    def samples_per_second(self) -> float | None:
        """Over all counted steps; None before two steps have been done."""
        return self.samples / self.seconds if self.seconds > 0 else None

    @property
    def pause_per_step(self) -> float:
        """Seconds of validation for each step of training."""
        return self._paused / self.steps if self.steps else 0.0

    @property
    def recent(self) -> Pace | None:
        """The last ten seconds; None before two steps have been done."""
        if len(self._recent) < 2:
            return None
        (begin, first, samples, waited), (end, last, end_samples, end_waited) = self._recent[0], self._recent[-1]
        span = end - begin
        if span <= 0:
            return None
        share = min(1.0, (end_waited - waited) / span) if self._loader is not None else None
        return Pace((end_samples - samples) / span, span / (last - first), share)


def batch_size(batch: object) -> int:
    """Samples in a batch: the length of its first tensor, 0 if it holds none."""
    if isinstance(batch, Tensor):
        return len(batch)
    values = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, list | tuple) else ()
    return next((len(value) for value in values if isinstance(value, Tensor)), 0)
