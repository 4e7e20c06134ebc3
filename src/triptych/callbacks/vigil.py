"""Tells the other processes of a run how far this one is: see `triptych.parallel.watch`."""

from typing import Any

import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer

from triptych.parallel.watch import Watch


class Vigil(Callback):
    """Watches from the start of a fit to its end. A run that is alone needs none."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._watching = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch.__enter__()
        self._watching = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._watch.at(trainer.global_step + 1, "step")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._watch.at(trainer.global_step + 1, "data")

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._watch.at(trainer.global_step, "validation")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch.at(trainer.global_step + 1, "data")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._leave()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._watching and _of_an_exchange(exception):
            self._watch.broken(exception)
        self._leave()

    def _leave(self) -> None:
        if self._watching:
            self._watch.__exit__()
            self._watching = False


def _of_an_exchange(error: BaseException) -> bool:
    """Whether it says that a collective failed; gloo has no type of error of its own."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo/transport" in str(error))
