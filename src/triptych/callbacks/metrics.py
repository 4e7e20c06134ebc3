"""`metrics.csv`: every logged step of a run, the same whether or not the run was interrupted."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from triptych.analysis.metrics import EPOCH, STEP, Number
from triptych.callbacks.extent import epoch_of
from triptych.callbacks.metrics_file import MetricsFile


class MetricsLogger(Logger):
    """Lightning logger that writes `metrics.csv`; rank zero only. `recorder` is the callback that goes with it.

    Rows are numbered by `trainer.global_step`, the optimizer steps done, so that the last step of training and the
    validation after it share a row, and a resumed run goes on counting where the checkpoint was.

    Args:
        path: the file; on a resume the rows after the checkpoint's step are cut off when training starts.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        self._path = Path(path)
        self._file: MetricsFile | None = None
        self._trainer: Trainer | None = None
        # True from the end of a training step until something else than that step can be logged.
        self.after_step = False
        self.other_names: set[str] = set()

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return self._path.parent.name

    @property
    def version(self) -> str:
        """A run directory is one version."""
        return ""

    @property
    def log_dir(self) -> str:
        """The run directory."""
        return str(self._path.parent)

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return str(self._path.parent)

    @property
    def recorder(self) -> "MetricsRecorder":
        """The callback that keeps the file in step with training and checkpoints; give it to the Trainer."""
        return MetricsRecorder(self)

    @property
    def file(self) -> MetricsFile:
        """The open file; opened at the first use, so that only rank zero ever does."""
        if self._file is None:
            self._file = MetricsFile(self._path)
        return self._file

    def follow(self, trainer: Trainer) -> None:
        """Number rows by this trainer's optimizer steps from now on, whatever step a caller gives."""
        self._trainer = trainer

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write the metrics into the row of the present step.

        Raises:
            ValueError: no step is given, and no trainer is followed.
        """
        number = step if self._trainer is None else self._trainer.global_step
        if number is None:
            raise ValueError("A step is needed: the logger follows no trainer.")
        if not self.after_step:
            self.other_names |= metrics.keys()
        elif not self.is_due():
            # Lightning counts the steps for its schedule anew after some resumes; the trace must not depend on that.
            return
        row = {name: _plain(value) for name, value in metrics.items() if name != STEP}
        self.file.record(number, row if self._trainer is None else row | {EPOCH: epoch_of(self._trainer)})

    def is_due(self) -> bool:
        """Whether the present training step is one of every `trainer.log_every_n_steps`."""
        trainer = self._trainer
        every = getattr(trainer, "log_every_n_steps", 0)
        return trainer is not None and every > 0 and trainer.global_step % every == 0

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: `config.yaml` holds them."""

    @rank_zero_only
    def sync(self) -> None:
        """Wait until all rows are on the disk, safe from a power cut."""
        self.file.sync()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Wait until all rows are on the disk."""
        self.sync()


class MetricsRecorder(Callback):
    """Keeps `metrics.csv` in step with the checkpoints, so that an interrupted trace equals an uninterrupted one.

    Lightning logs a training step after all hooks of that step, so a checkpoint written in one of them would be ahead
    of the file, and a run that goes on from it would never log that step. So the row is written here first, and it is
    on the disk before any checkpoint is. Stands before the callback that saves checkpoints.

    Args:
        logger: the logger whose file is kept.
    """

    def __init__(self, logger: MetricsLogger) -> None:
        self._logger = logger

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Follow the trainer."""
        self._logger.follow(trainer)
        self._logger.after_step = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Cut off what the resumed run will do again."""
        if trainer.is_global_zero:
            self._logger.file.cut(trainer.global_step)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """What is logged from here on belongs to the new step."""
        self._logger.after_step = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the row of this step."""
        self._logger.after_step = True
        if not trainer.is_global_zero or not self._logger.is_due():
            return
        metrics = trainer.logged_metrics
        step_metrics = {name: _plain(metrics[name]) for name in metrics if name not in self._logger.other_names}
        if step_metrics:
            self._logger.file.record(trainer.global_step, {EPOCH: epoch_of(trainer), **step_metrics})

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What is logged from here on belongs to validation."""
        self._logger.after_step = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What is logged from here on belongs to the epoch."""
        self._logger.after_step = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """The rows up to the saved step reach the disk before the checkpoint does."""
        self._logger.sync()


def _plain(value: Tensor | Number) -> Number:
    return value.item() if isinstance(value, Tensor) else value
