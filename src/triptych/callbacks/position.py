"""Puts Lightning's loops at the step of a checkpoint, so that a run goes on mid-epoch with the very next batch.

A run is one pass of Lightning over all its steps: the loader crosses epochs by itself and starts at any step, and an
epoch is a number of steps. Lightning's saved loop counters depend on which hook saved them (before or after a
validation, at the end of an epoch); at a step boundary all that matters is the step, so they are written anew from it.
"""

from typing import Any, Protocol

from lightning.pytorch import Callback, LightningModule, Trainer


def loops_at(step: int, loops: dict[str, Any]) -> dict[str, Any]:
    """Lightning's loop state with `step` batches and optimizer steps done and nothing half-done.

    `loops` is the state of freshly made loops (`Trainer.fit_loop.state_dict()`); it is returned changed.
    """
    batches = loops["epoch_loop.batch_progress"]
    for span in ("total", "current"):
        batches[span] |= {"ready": step, "started": step, "processed": step, "completed": step}
        loops["epoch_loop.manual_optimization.optim_step_progress"][span] |= {"ready": step, "completed": step}
        loops["epoch_progress"][span] |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    batches["is_last_batch"] = False
    loops["epoch_loop.state_dict"] = {"_batches_that_stepped": step}
    return loops


class Startable(Protocol):
    """Data that begin at any step of a run."""

    @property
    def start_step(self) -> int: ...

    @start_step.setter
    def start_step(self, step: int) -> None: ...


class Position(Callback):
    """Restores the position of a run from `checkpoint["global_step"]`; `data` is told the step to start at."""

    def __init__(self, data: Startable) -> None:
        self.data = data

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        step = checkpoint["global_step"]
        checkpoint["loops"] = {"fit_loop": loops_at(step, trainer.fit_loop.state_dict())}
        self.data.start_step = step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        # Lightning logs by this count, which a resume at a validation step would leave one ahead.
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
        if trainer.global_step + 1 == trainer.max_steps:
            trainer.val_check_batch = trainer.max_steps  # a run ends with a validation, wherever its interval falls
