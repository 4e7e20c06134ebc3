"""What one sees while a run trains: loss, speed, waiting for data and the time left."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, Timer
from rich.console import Console
from torch import Tensor

from triptych.callbacks import words
from triptych.callbacks.display import Display, Status, display
from triptych.callbacks.extent import epoch_of, steps_per_epoch, total_steps
from triptych.callbacks.throughput import LoaderClock, Throughput, batch_size
from triptych.parallel.mesh import data_share
from triptych.rundir.terminal import console


class RunProgress(ProgressBar):
    """Progress of a run; takes the place of Lightning's bar.

    On a terminal it redraws two lines at most four times a second. Piped, it prints a line every tenth of the run or
    every half minute (later more seldom), without control codes. The result of each validation is a line that stays.

    `samples/s` counts all ranks over the last ten seconds, validation taken out. `data wait` is the share of that time
    in which training stood still for the next batch: above a few percent, more `data.workers` make the run faster.

    Args:
        screen: where to print; the process's console if not given.
        clock: seconds that only grow; a test gives its own.
    """

    def __init__(self, screen: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._screen = screen or console()
        self._clock = clock
        self._enabled = True
        self._display: Display | None = None
        self._facts: tuple[str, ...] = ()
        self._throughput = Throughput(clock)
        self._loader: LoaderClock | None = None
        self._validated = 0

    def enable(self) -> None:
        """Show progress."""
        self._enabled = True

    def disable(self) -> None:
        """Show nothing: Lightning calls this on ranks above zero."""
        self._enabled = False

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print a line above the progress, as Lightning's `self.print` asks for."""
        if self._enabled:
            self._screen.print(*args, markup=False)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listen to the loader."""
        super().setup(trainer, pl_module, stage)
        self._loader = LoaderClock.attach(trainer) if stage == "fit" else None
        self._throughput = Throughput(self._clock, self._loader)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to show."""
        self._open()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step; show it now and then."""
        self._throughput.step(batch_size(batch) * data_share(trainer)[1])
        if self._display is None:
            return
        now, step, total = self._clock(), trainer.global_step, total_steps(trainer)
        if self._display.due(now, step, total):
            self._facts = self._train_facts(trainer, total, outputs)
            self._display.show(Status("training", step, total, self._facts), now)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock of training."""
        self._throughput.pause()
        self._validated = 0
        if self._display is None:
            self._open()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a batch of validation."""
        self._evaluated("validating", trainer.num_val_batches)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the result on the screen, let the clock go on."""
        self._throughput.resume()
        if self._display is None or trainer.sanity_checking:
            return
        results = [f"{name} {words.value(float(number))}" for name, number in self._results(trainer, "val")]
        if results and trainer.state.fn == "fit":
            epoch = f"epoch {epoch_of(trainer):.2f}" if steps_per_epoch(trainer) else ""
            self._display.line("  ".join(filter(None, (f"step {trainer.global_step:,}", epoch, *results))))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to show."""
        self._validated = 0
        self._open()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a batch of testing."""
        self._evaluated("testing", trainer.num_test_batches)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the lines down."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take the lines down, so that a message stands on a clean screen."""
        self._close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the lines down."""
        self._close()

    def _open(self) -> None:
        if self._enabled and self._display is None:
            self._display = display(self._screen, self._clock())

    def _close(self) -> None:
        shown, self._display = self._display, None
        if shown is not None:
            shown.close()

    def _evaluated(self, label: str, batches: list[int | float] | int | float) -> None:
        self._validated += 1
        if self._display is None:
            return
        now = self._clock()
        counts = batches if isinstance(batches, list) else [batches]
        total = int(sum(counts)) if sum(counts) < float("inf") else None
        # No total: where lines stay, a validation is no reason for one.
        if self._display.due(now, self._validated, None):
            self._display.show(Status(label, self._validated, total, self._facts), now)

    def _results(self, trainer: Trainer, prefix: str) -> list[tuple[str, Any]]:
        metrics = trainer.callback_metrics
        return [(name, metrics[name]) for name in metrics if name.startswith(f"{prefix}/")]

    def _train_facts(self, trainer: Trainer, total: int | None, outputs: Any) -> tuple[str, ...]:
        facts = [f"epoch {epoch_of(trainer):.1f}"] if steps_per_epoch(trainer) else []
        metrics = trainer.callback_metrics
        # The loss of this very step, where the module returns it; what it logs may be many steps old.
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        loss = loss if isinstance(loss, Tensor) and loss.numel() == 1 else metrics.get("train/loss")
        if loss is not None:
            facts.append(f"loss {words.value(float(loss))}")
        if "lr" in metrics:
            facts.append(f"lr {words.value(float(metrics['lr']))}")
        recent = self._throughput.recent
        if recent is None:
            return tuple(facts)
        facts.append(f"{words.rate(recent.samples_per_second)} samples/s")
        if recent.wait_share is not None:
            facts.append(f"data wait {recent.wait_share:.0%}")
        if total is not None:
            left = (total - trainer.global_step) * (recent.seconds_per_step + self._throughput.pause_per_step)
            limits = [timer.time_remaining() for timer in getattr(trainer, "callbacks", ()) if isinstance(timer, Timer)]
            facts.append(f"{words.duration(min([left, *(limit for limit in limits if limit is not None)]))} left")
        return tuple(facts)
