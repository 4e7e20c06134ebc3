"""Tells the other processes of a run how far this one is: see `triptych.parallel.watch`."""

from typing import Any

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

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._leave()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._watching:
            self._watch.__exit__()
            self._watching = False
