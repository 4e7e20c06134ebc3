"""A run that is told to stop saves once, at a step boundary, and says so with its exit code."""

import contextlib
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from lightning.pytorch import Callback, LightningModule, Trainer

from triptych.callbacks.extent import total_steps
from triptych.checkpoints.find import LAST
from triptych.parallel.votes import Votes
from triptych.rundir.terminal import show_cursor

_Handler = Callable[[int, FrameType | None], Any] | int | None


class SavesCheckpoints(Protocol):
    """What is needed of the callback that keeps the checkpoints, whose hooks run after those of `GracefulStop`."""

    last_step: int | None  # of the newest save
    votes: Votes

    @property
    def folder(self) -> Path:
        """Where the saves are."""
        ...

    def request(self, reason: str) -> None:
        """Save at the end of the present step."""
        ...


class RunStopped(SystemExit):
    """The run was told to stop and has saved. Uncaught, it ends the process quietly with the documented code.

    Args:
        signal_name: `SIGTERM`, `SIGUSR1` or `SIGINT`.
        step: optimizer steps done.
        checkpoint: the newest save, None if training had not begun.
    """

    def __init__(self, signal_name: str, step: int, checkpoint: Path | None) -> None:
        super().__init__(EXIT_CODES[signal_name])
        self.signal_name = signal_name
        self.step = step
        self.checkpoint = checkpoint

    def __str__(self) -> str:
        saved = f"saved as {self.checkpoint}" if self.checkpoint else "nothing was trained since the last save"
        return f"stopped by {self.signal_name} at step {self.step}; {saved}"


# As a shell would report a process that these signals ended. SIGUSR1 asks for the same as SIGTERM (pre-emption).
EXIT_CODES = {"SIGTERM": 143, "SIGUSR1": 143, "SIGINT": 130}


class GracefulStop(Callback):
    """Turns SIGTERM, SIGUSR1 and Ctrl-C into one checkpoint at the next step boundary and `RunStopped`.

    The handlers only set a flag: saving inside one can meet a lock that the interrupted code holds. At the end of the
    step a save is requested, and the run stops as soon as that is done, before a validation that may be due (a resume
    makes up for it). A signal during validation waits for the end of it and one more step; one during the last step
    lets the run finish. A second Ctrl-C leaves at once, without saving. With several ranks, a signal to any of them
    stops all at the same step. Lightning's own handlers are replaced while training runs, the former ones put back.

    Args:
        checkpoints: saves the step.
    """

    def __init__(self, checkpoints: SavesCheckpoints) -> None:
        self._checkpoints = checkpoints
        self._former: dict[int, _Handler] = {}
        self._stopping: str | None = None
        self.received: str | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listen from here on, for data may take long to load."""
        if stage == "fit":
            self.received = self._stopping = None
            self._listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen again: Lightning has put its own handlers in place, which would stop in the middle of things."""
        self._listen()
        self._agree(trainer)
        if self._stopping is not None:
            # Nothing has been trained in this process, so there is nothing that is not saved.
            raise RunStopped(self._stopping, trainer.global_step, None)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The step boundary: ask for a save."""
        self._agree(trainer)
        if self._stopping is not None:
            self._checkpoints.request(self._stopping)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop here if the step is saved."""
        if not trainer.sanity_checking:
            self._stop_if_saved(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop here if the step is saved."""
        self._stop_if_saved(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Put the former handlers back."""
        self._restore()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Put the former handlers back."""
        self._restore()

    def _stop_if_saved(self, trainer: Trainer) -> None:
        step = trainer.global_step
        if self._stopping is None or step == 0 or self._checkpoints.last_step != step or step == total_steps(trainer):
            return
        raise RunStopped(self._stopping, step, self._checkpoints.folder / LAST)

    def _agree(self, trainer: Trainer) -> None:
        """Find the signal that some rank has received; the same answer on all ranks."""
        if trainer.world_size == 1:
            self._stopping = self.received
            return
        votes = self._checkpoints.votes
        self._stopping = next((name for name in EXIT_CODES if votes.seen(name)), None)
        if self.received is not None:
            votes.cast(self.received)

    def _listen(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Python delivers signals to the main thread only; a notebook's worker thread has none to handle.
        for name in EXIT_CODES:
            number = getattr(signal, name)
            former = signal.signal(number, self._note)
            self._former.setdefault(number, former)

    def _restore(self) -> None:
        former, self._former = self._former, {}
        for number, handler in former.items():
            # A handler that C code installed cannot be put back from Python; it shows as None.
            with contextlib.suppress(TypeError):
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number).name
        if number == signal.SIGINT:
            # From now on the kernel itself ends the process at Ctrl-C, even inside a long computation.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            show_cursor()
