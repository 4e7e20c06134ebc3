"""How far a run has got and how far it goes, in steps and epochs."""

import math
from typing import Protocol, runtime_checkable

from lightning.pytorch import Trainer


@runtime_checkable
class _CountsSteps(Protocol):
    @property
    def steps_per_epoch(self) -> int: ...


def steps_per_epoch(trainer: Trainer) -> int | None:
    """Optimizer steps in one pass over the training data; None where that is not known.

    The data module says it, as a run may be a single pass of Lightning over the steps of many epochs.
    """
    data = getattr(trainer, "datamodule", None)
    if isinstance(data, _CountsSteps):
        return data.steps_per_epoch
    batches = trainer.num_training_batches
    return int(batches) if math.isfinite(batches) and batches > 0 else None


def epoch_of(trainer: Trainer) -> float:
    """Passes over the training data done so far, with the part of the present one: 1.5 is the middle of the second."""
    steps = steps_per_epoch(trainer)
    return trainer.global_step / steps if steps else float(trainer.current_epoch)


def total_steps(trainer: Trainer) -> int | None:
    """Optimizer steps of the whole run; None where nothing bounds them."""
    bounds = [trainer.max_steps] if trainer.max_steps > 0 else []
    batches = trainer.num_training_batches
    if trainer.max_epochs is not None and trainer.max_epochs > 0 and math.isfinite(batches) and batches > 0:
        bounds.append(int(batches) * trainer.max_epochs)
    return min(bounds, default=None)
