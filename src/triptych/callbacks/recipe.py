"""Keeps with every checkpoint how its model is made, so that the weights can be used without the run."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class Recipe(Callback):
    """Adds `config` (the model's configuration, its classes, its preprocessing; plain data) to each checkpoint."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["triptych"] = {"config": self.config}
