"""The mean of the weights over the last part of training, which validation and the saved model use."""

import math

from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from triptych.callbacks.average import AverageCallback
from triptych.errors import UserError
from triptych.objectives.steps import planned_steps
from triptych.optim.swa import SWA


class SWACallback(AverageCallback):
    """See `AverageCallback` and `SWA`. The mean begins after the share `start` of all steps; a resume that makes
    training longer begins it anew where the longer training asks for it.

    Raises UserError for a share out of its range.
    """

    def __init__(self, start: float = 0.75) -> None:
        if not 0 <= start < 1:
            raise UserError(f"ema.start is {start}, but must be at least 0 and below 1")
        super().__init__()
        self.start = start

    def make(self, model: nn.Module, trainer: Trainer) -> SWA:
        """The average of a model that is about to be trained."""
        # Only training asks when the mean begins, and only it knows how long it will be.
        steps = planned_steps(trainer) if trainer.state.fn == TrainerFn.FITTING else 0
        return SWA(model, 1 + math.floor(self.start * steps))
