"""Keeps the moving average of the weights during training, and evaluates with it."""

import logging
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from triptych.errors import UserError
from triptych.optim.ema import EMA

logger = logging.getLogger(__name__)


class EMACallback(Callback):
    """Averages the weights of `pl_module.model` after each optimizer step; validation and test use the average.

    A checkpoint holds the weights as trained in `state_dict` and the average in `ema` (by the names of the model's
    own state dict), also one that is saved while the model holds the average. A resume goes on with the saved
    average.
    """

    def __init__(self, decay: float = 0.9999, warmup: bool = True) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"ema.decay is {decay}, but must be at least 0 and below 1")
        self.decay = decay
        self.warmup = warmup
        self.ema: EMA | None = None
        self._loaded: dict[str, Tensor] | None = None
        self._step = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the average at the weights, or at the loaded average."""
        self._start(pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the step that training starts from."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Averages, if the batch made an optimizer step."""
        if trainer.global_step != self._step and self.ema is not None:
            self._step = trainer.global_step
            self.ema.update(self._step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the average into the model."""
        self._hold_average(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the weights back."""
        self._hold_weights()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the average into the model."""
        self._hold_average(pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the weights back."""
        self._hold_weights()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """An evaluation that fails leaves the weights in the model."""
        self._hold_weights()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the average, and sees to it that `state_dict` holds the weights."""
        if self.ema is None:
            return
        checkpoint["ema"] = dict(self.ema.state_dict())
        if self.ema.swapped:
            raw = {f"model.{name}": tensor for name, tensor in self.ema.raw_state_dict().items()}
            checkpoint["state_dict"] = {**checkpoint["state_dict"], **raw}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Takes the saved average; without one, the average starts at the loaded weights."""
        self._loaded = checkpoint.get("ema")
        if self._loaded is None:
            logger.warning(
                "the checkpoint has no moving average of the weights; it starts afresh at the loaded weights"
            )
        elif self.ema is not None:
            self._load(self.ema)

    def _start(self, pl_module: LightningModule) -> None:
        model = pl_module.model
        assert isinstance(model, nn.Module)
        self.ema = EMA(model, self.decay, self.warmup)
        self._load(self.ema)

    def _load(self, ema: EMA) -> None:
        if self._loaded is not None:
            ema.load_state_dict(self._loaded)
            self._loaded = None

    def _hold_average(self, pl_module: LightningModule) -> None:
        if self.ema is None and self._loaded is not None:
            self._start(pl_module)
        if self.ema is not None and not self.ema.swapped:
            self.ema.swap()

    def _hold_weights(self) -> None:
        if self.ema is not None and self.ema.swapped:
            self.ema.swap()
