"""The plain mean of a model's weights over the last part of its training."""

from torch import nn

from triptych.optim.weight_average import WeightAverage


class SWA(WeightAverage):
    """The mean of the weights after each optimizer step from `first` (counted from 1) on, all counting alike (Izmailov
    et al., 2018, "Averaging Weights Leads to Wider Optima and Better Generalization"); before it, the weights as they
    are.
    """

    def __init__(self, model: nn.Module, first: int) -> None:
        super().__init__(model)
        self.first = first

    def decay_at(self, step: int) -> float:
        """The decay of optimizer step `step`, counted from 1."""
        before = max(0, step - self.first)
        return before / (before + 1)
