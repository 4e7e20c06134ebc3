"""The exponential moving average of the weights, which validation and the saved model use."""

from lightning.pytorch import Trainer
from torch import nn

from triptych.callbacks.average import AverageCallback
from triptych.errors import UserError
from triptych.optim.ema import EMA


class EMACallback(AverageCallback):
    """See `AverageCallback` and `EMA`. Raises UserError for a decay out of its range."""

    def __init__(self, decay: float = 0.9999, warmup: bool = True) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"ema.decay is {decay}, but must be at least 0 and below 1")
        super().__init__()
        self.decay = decay
        self.warmup = warmup

    def make(self, model: nn.Module, trainer: Trainer) -> EMA:
        """The average of a model that is about to be trained."""
        return EMA(model, self.decay, self.warmup)
