"""An average of a model's weights over its training, beside the model."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from triptych.errors import UserError
from triptych.optim import foreach
from triptych.parallel.pieces import local


class WeightAverage(ABC):
    """An average of a model's parameters, with a copy of its persistent buffers, beside the model.

    After optimizer step `n` (counted from 1) the average moves to `decay * average + (1 - decay) * weights`, where
    `decay_at(n)` is the decay. Everything depends on the step given, so there is no counter to save.

    `swap` exchanges the values of model and average in place, one tensor at a time: there is never a third copy,
    addresses stay (compiled graphs and communication buffers go on working), and swapping twice gives back every bit.
    Weights must be float32 or wider: in bfloat16 a step of `1 - decay` would be rounded away, which is refused.
    """

    def __init__(self, model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            if parameter.dtype not in (torch.float32, torch.float64):
                raise UserError(
                    f"an average of weights needs float32 ones, but {name} is {parameter.dtype}; "
                    "take precision=bf16-mixed, or ema=null"
                )
        self.swapped = False
        self._model = model
        # Where processes hold the model together, each averages what it has.
        tensors = {name: local(tensor) for name, tensor in model.state_dict(keep_vars=True).items()}
        # A tensor that the model holds under several names is averaged once, under the first.
        first: dict[int, str] = {}
        self._names = {name: first.setdefault(id(tensor), name) for name, tensor in tensors.items()}
        unique = {name: tensors[name] for name in self._names.values()}
        self._shadows = {name: tensor.detach().clone() for name, tensor in unique.items()}
        buffers = dict(model.named_buffers(remove_duplicate=False))
        self._parameters = {name: tensor for name, tensor in unique.items() if name not in buffers}
        self._buffers = [name for name in unique if name not in self._parameters]

    @abstractmethod
    def decay_at(self, step: int) -> float:
        """The decay of optimizer step `step`, counted from 1."""

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves the average towards the weights after optimizer step `step`, counted from 1."""
        assert not self.swapped, "the model holds the averages now; swap back before training goes on"
        averages = [self._shadows[name] for name in self._parameters]
        foreach.lerp_(averages, list(self._parameters.values()), 1 - self.decay_at(step))
        for name in self._buffers:
            self._shadows[name].copy_(self._model.get_buffer(name))

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the values of the model and of the average."""
        for name, tensor in self._live().items():
            held = tensor.clone()
            tensor.copy_(self._shadows[name])
            self._shadows[name].copy_(held)
        self.swapped = not self.swapped

    def state_dict(self) -> dict[str, Tensor]:
        """The average by the names of the model's own state dict, wherever it is held at the moment."""
        return self._named(self._live() if self.swapped else self._shadows)

    def raw_state_dict(self) -> dict[str, Tensor]:
        """The weights as trained, by the same names, wherever they are held at the moment."""
        return self._named(self._shadows if self.swapped else self._live())

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes over an average; names or shapes that differ from the model's raise UserError."""
        own = self.state_dict()
        if missing := sorted(own.keys() ^ state.keys()):
            raise UserError(
                f"the average of weights in the checkpoint does not fit the model: {_some(missing)} only on one side"
            )
        for name, tensor in own.items():
            if tensor.shape != state[name].shape:
                raise UserError(
                    f"the average of weights in the checkpoint has {name} of shape {tuple(state[name].shape)}, "
                    f"but the model wants {tuple(tensor.shape)}"
                )
            tensor.copy_(state[name])

    def _live(self) -> dict[str, Tensor]:
        """The model's tensors; buffers are looked up anew, as a move to another device makes new ones."""
        return {**self._parameters, **{name: self._model.get_buffer(name) for name in self._buffers}}

    def _named(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensors[first].detach() for name, first in self._names.items()}


def _some(names: list[str], most: int = 3) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
