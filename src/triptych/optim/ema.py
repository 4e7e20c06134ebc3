"""An exponential moving average of a model's weights."""

from torch import nn

from triptych.errors import UserError
from triptych.optim.weight_average import WeightAverage


class EMA(WeightAverage):
    """An average in which what lies long ago counts for less and less.

    With `warmup` the decay of step `n` is at most `(1 + n) / (10 + n)`, so that the random start is soon forgotten (the
    rule of TensorFlow's `ExponentialMovingAverage`).

    Raises UserError for a decay out of its range.
    """

    def __init__(self, model: nn.Module, decay: float = 0.9999, warmup: bool = True) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"ema.decay is {decay}, but must be at least 0 and below 1")
        super().__init__(model)
        self.decay = decay
        self.warmup = warmup

    def decay_at(self, step: int) -> float:
        """The decay of optimizer step `step`, counted from 1."""
        return min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay
