"""The names of validation sets."""

from collections.abc import Sequence

from lightning.pytorch import Trainer

from triptych.errors import UserError


def checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """What metrics are logged under: the first set counts as `val`. Raises UserError where two are the same."""
    if not names or len({"val", *names[1:]}) != len(names):
        raise UserError(f"validation_names is {list(names)}, but must be different names; the first counts as 'val'")
    return ("val", *names[1:])


def check_loaders(trainer: Trainer, names: Sequence[str]) -> None:
    """Raises UserError unless there is one validation loader for each name."""
    loaders = len(trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches)
    if loaders != len(names):
        raise UserError(f"there are {loaders} validation sets, but validation_names has {len(names)}: {list(names)}")
