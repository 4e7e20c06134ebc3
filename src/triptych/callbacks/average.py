"""Keeps an average of the weights during training, and evaluates with it."""

import logging
from abc import ABC, abstractmethod
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from triptych.optim.weight_average import WeightAverage

logger = logging.getLogger(__name__)


class AverageCallback(Callback, ABC):
    """Averages the weights of `pl_module.model` after each optimizer step; validation and test use the average.

    A checkpoint holds the weights as trained in `state_dict` and the average in `ema` (by the names of the model's
    own state dict), also one that is saved while the model holds the average. A resume goes on with the saved
    average.
    """

    def __init__(self) -> None:
        self.average: WeightAverage | None = None
        self._loaded: dict[str, Tensor] | None = None
        self._step = 0

    @abstractmethod
    def make(self, model: nn.Module, trainer: Trainer) -> WeightAverage:
        """The average of a model that is about to be trained."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the average at the weights, or at the loaded average."""
        self._start(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the step that training starts from."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Averages, if the batch made an optimizer step."""
        if trainer.global_step != self._step and self.average is not None:
            self._step = trainer.global_step
            self.average.update(self._step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the average into the model."""
        self._hold_average(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the weights back."""
        self._hold_weights()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the average into the model."""
        self._hold_average(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the weights back."""
        self._hold_weights()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """An evaluation that fails leaves the weights in the model."""
        self._hold_weights()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the average, and sees to it that `state_dict` holds the weights."""
        if self.average is None:
            return
        checkpoint["ema"] = dict(self.average.state_dict())
        if self.average.swapped:
            raw = {f"model.{name}": tensor for name, tensor in self.average.raw_state_dict().items()}
            checkpoint["state_dict"] = {**checkpoint["state_dict"], **raw}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Takes the saved average; without one, the average starts at the loaded weights."""
        self._loaded = checkpoint.get("ema")
        if self._loaded is None:
            logger.warning("the checkpoint has no average of the weights; it starts afresh at the loaded weights")
        elif self.average is not None:
            self._load(self.average)

    def _start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        model = pl_module.model
        assert isinstance(model, nn.Module)
        self.average = self.make(model, trainer)
        self._load(self.average)

    def _load(self, average: WeightAverage) -> None:
        if self._loaded is not None:
            average.load_state_dict(self._loaded)
            self._loaded = None

    def _hold_average(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.average is None and self._loaded is not None:
            self._start(trainer, pl_module)
        if self.average is not None and not self.average.swapped:
            self.average.swap()

    def _hold_weights(self) -> None:
        if self.average is not None and self.average.swapped:
            self.average.swap()
