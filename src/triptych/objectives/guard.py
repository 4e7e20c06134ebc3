"""What becomes of a step whose loss or gradients are no longer numbers, without making a GPU wait at every step."""

import math
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from triptych.errors import TrainingFault

_NEVER = 2**62
REMEMBERED = 64
"""Steps whose samples are kept in mind, for a fault that is found later."""


class FiniteGuard:
    """Watches values of each step; the first that is not finite stops training with a TrainingFault, with the step and
    its samples, or leaves the step out.

    Without a limit of steps to leave out: on a CPU a value costs nothing to read, so `watch` raises at once, before the
    optimizer's step: the weights are still good. On another device `watch` only notes the first bad step there, in a
    tensor; `check` reads it. It is called at each logged step before the update, and before anything is saved: the
    weights of a GPU may be spoilt for the few steps in between, but no checkpoint ever is, and the message names the
    very step. `lazy` overrides the choice by device.

    With one, each step waits for its values, and `watch` says whether it is good; after `limit` bad ones in a row the
    next raises.
    """

    def __init__(self, lazy: bool | None = None, limit: int = 0) -> None:
        self.lazy, self.limit = lazy, limit
        self.in_a_row = 0
        self._first: dict[str, Tensor] = {}
        self._samples: deque[tuple[int, Tensor]] = deque(maxlen=REMEMBERED)

    def take(self, step: int, samples: Tensor | None) -> None:
        """The numbers of the samples that optimizer step `step` (counted from 1) trains on."""
        if samples is not None:
            self._samples.append((step, samples))

    def samples(self, step: int) -> list[int]:
        """The numbers of the samples of a step not long ago; none where they are not known."""
        return next((found.flatten().tolist() for number, found in self._samples if number == step), [])

    def watch(self, name: str, value: Tensor, step: int) -> bool:
        """Looks at the scalar `value` of optimizer step `step`; whether the step may be made, as far as is known."""
        lazy = not self.limit and (value.device.type != "cpu" if self.lazy is None else self.lazy)
        if not lazy:
            number = value.item()
            if math.isfinite(number):
                return True
            if self.in_a_row >= self.limit:
                before = f"after {self.in_a_row} steps in a row that were left out for the like; " if self.limit else ""
                raise self._fault(f"{name} is {number} at step {step}; {before}the step was not made", step)
            return False
        if name not in self._first:
            self._first[name] = torch.full((), _NEVER, device=value.device)
        first = self._first[name]
        first.copy_(torch.where(value.detach().isfinite(), first, first.clamp(max=step)))
        return True

    def made(self, good: bool) -> None:
        """A step was made, or left out."""
        self.in_a_row = 0 if good else self.in_a_row + 1

    def check(self, earliest: Callable[[Tensor], Tensor] = lambda step: step) -> None:
        """Raises what `watch` noted; `earliest` takes the minimum over ranks. Waits for the device."""
        for name, first in self._first.items():
            if (step := int(earliest(first).item())) != _NEVER:
                raise self._fault(f"{name} is not finite (nan or infinite) at step {step}", step)

    def _fault(self, message: str, step: int) -> TrainingFault:
        return TrainingFault(message, step, self.samples(step))
