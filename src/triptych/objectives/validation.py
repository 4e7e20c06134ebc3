"""The names of validation sets."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lightning.pytorch import Trainer
from torch import nn
from torchmetrics import Metric

from triptych.errors import UserError
from triptych.parallel.mesh import data_group


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


def share_counts(metrics: nn.Module, trainer: Trainer) -> None:
    """Adds counts up over the processes that see different samples, and over no others."""
    for metric in metrics.modules():
        if isinstance(metric, Metric):
            metric.process_group = data_group(trainer)


@contextmanager
def few_samples() -> Iterator[None]:
    """A process that had none of a small validation set has nothing to add, which is no reason for a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
        yield
