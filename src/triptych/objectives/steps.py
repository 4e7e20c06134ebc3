"""How many optimizer steps a training will make: what a schedule needs to know before the first one."""

from typing import Protocol, runtime_checkable

from lightning.pytorch import Trainer

from triptych.errors import UserError


@runtime_checkable
class CountsSteps(Protocol):
    """A data module that knows its length without making a loader."""

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in one epoch."""
        ...


def planned_steps(trainer: Trainer) -> int:
    """Optimizer steps of the whole training, from `max_steps`, or `max_epochs` times the steps of an epoch.

    The steps of an epoch come from `steps_per_epoch` of the data module. Only a training without one asks Lightning
    to make the loader now, as Lightning then forgets a saved position of that loader (its issue 20550); a resume that
    would lose one is refused. Raises UserError also when nothing bounds the training.
    """
    if trainer.max_epochs is None or trainer.max_epochs < 0:
        if trainer.max_steps < 0:
            raise UserError(
                "the schedule must know when training ends, but neither max_steps nor max_epochs is set; set one"
            )
        return trainer.max_steps
    data = getattr(trainer, "datamodule", None)
    if isinstance(data, CountsSteps):
        limit = trainer.limit_train_batches
        epoch = data.steps_per_epoch
        epoch = min(epoch, limit) if isinstance(limit, int) else int(epoch * (1.0 if limit is None else limit))
        steps = epoch * trainer.max_epochs
        return min(steps, trainer.max_steps) if trainer.max_steps >= 0 else steps
    if trainer.ckpt_path is not None and trainer.max_steps >= 0:
        return trainer.max_steps
    steps = trainer.estimated_stepping_batches
    if trainer.ckpt_path is not None and hasattr(trainer.train_dataloader, "load_state_dict"):
        raise UserError(
            "cannot resume by max_epochs alone: the loader has a position to restore, and its length is not known "
            "before; set max_steps, or give the data module a `steps_per_epoch`"
        )
    if not steps >= 0 or steps == float("inf"):
        raise UserError(
            "the schedule must know when training ends, but the training data have no length; set max_steps"
        )
    return int(steps)
