"""Stops a training whose loss is no longer a number, without making a GPU wait for it at every step."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from triptych.errors import TrainingFault

_NEVER = 2**62


class FiniteGuard:
    """Watches values of each step and raises TrainingFault, with the step, for the first that is not finite.

    On a CPU a value costs nothing to read, so `watch` raises at once, before the optimizer's step: the weights are
    still good. On another device `watch` only notes the first bad step there, in a tensor; `check` reads it. It is
    called at each logged step before the update, and before anything is saved: the weights of a GPU may be spoilt for
    the few steps in between, but no checkpoint ever is, and the message names the very step. `lazy` overrides the
    choice by device.
    """

    def __init__(self, lazy: bool | None = None) -> None:
        self.lazy = lazy
        self._first: dict[str, Tensor] = {}

    def watch(self, name: str, value: Tensor, step: int) -> None:
        """Looks at the scalar `value` of optimizer step `step` (counted from 1)."""
        if not (value.device.type != "cpu" if self.lazy is None else self.lazy):
            if not math.isfinite(number := value.item()):
                raise TrainingFault(f"{name} is {number} at step {step}; the step was not made", step)
            return
        if name not in self._first:
            self._first[name] = torch.full((), _NEVER, device=value.device)
        first = self._first[name]
        first.copy_(torch.where(value.detach().isfinite(), first, first.clamp(max=step)))

    def check(self, earliest: Callable[[Tensor], Tensor] = lambda step: step) -> None:
        """Raises what `watch` noted; `earliest` takes the minimum over ranks. Waits for the device."""
        for name, first in self._first.items():
            if (step := int(earliest(first).item())) != _NEVER:
                raise TrainingFault(f"{name} is not finite (nan or infinite) at step {step}", step)
