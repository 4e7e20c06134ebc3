"""Learning-rate schedules: pure functions from a step to a factor, and one torch scheduler that applies any of them.

Steps count from 0; the factor of step `n` multiplies each group's own learning rate during the step. During a warm-up
of `w` steps it is `(n + 1) / w`, so the first step already learns and the last one of the warm-up is at full rate.
`total_steps` is where the final factor is reached: the last step, `total_steps - 1`, is still just above it.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from triptych.errors import UserError

Shape = Literal["linear", "sqrt", "cosine"]


def warmup_cosine(step: int, total_steps: int, warmup_steps: int, final: float = 0.0) -> float:
    """Linear warm-up to 1, then half a cosine down to `final` (Loshchilov & Hutter 2017, "SGDR", without restarts)."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / (total_steps - warmup_steps))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def warmup_stable_decay(
    step: int, total_steps: int, warmup_steps: int, decay_steps: int, final: float = 0.0, shape: Shape = "sqrt"
) -> float:
    """Linear warm-up to 1, a plateau, then a decay to `final` over the last `decay_steps`.

    The schedule of Hu et al. 2024 ("MiniCPM"); the `sqrt` decay, `1 - sqrt(progress)`, is the one that Hägele et al.
    2024 ("Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations") found best.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step < total_steps - decay_steps:
        return 1.0
    progress = (
        min(1.0, (step - (total_steps - decay_steps)) / decay_steps) if decay_steps else float(step >= total_steps)
    )
    left = {"linear": 1 - progress, "sqrt": 1 - math.sqrt(progress), "cosine": 0.5 * (1 + math.cos(math.pi * progress))}
    return final + (1 - final) * left[shape]


class FactorSchedule(LRScheduler):
    """Sets each group's learning rate to its initial one times `factor(step)`.

    The state is one integer, the step: what else there is comes from the configuration, so that a run can be resumed
    with other totals or rates and be where the new schedule would be at that step.
    """

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float]) -> None:
        self.factor = factor
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each group at the current step."""
        factor = self.factor(self.last_epoch)
        return [base * factor for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """`{"step": number of optimizer steps made}`."""
        return {"step": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes to the step, and sets the groups' rates (which the optimizer's own state may have set otherwise)."""
        step = state_dict.get("step")
        if type(step) is not int or not 0 <= step < 1 << 48:
            raise UserError(f"the checkpoint's place in the schedule is {step!r:.80}, which is no number of steps")
        self.last_epoch = self._step_count = step
        for group, base, lr in zip(self.optimizer.param_groups, self.base_lrs, self.get_lr(), strict=True):
            group["initial_lr"], group["lr"] = base, lr
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


def cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.05, final: float = 0.0) -> FactorSchedule:
    """Warm-up and cosine over `total_steps`.

    `warmup` is a share of `total_steps` if below 1, a number of steps otherwise; `final` is the factor at the end.
    """
    warmup_steps = _steps("warmup", warmup, total_steps)
    _check_final(final)
    if warmup_steps >= total_steps:
        raise UserError(
            f"schedule.warmup is {warmup_steps} steps, but training is {total_steps} steps long; shorten the warm-up "
            "(a number below 1 is a share of the training) or train longer"
        )
    return FactorSchedule(optimizer, lambda step: warmup_cosine(step, total_steps, warmup_steps, final))


def wsd(
    optimizer: Optimizer,
    total_steps: int,
    warmup: float = 0.05,
    decay: float = 0.2,
    final: float = 0.0,
    shape: Shape = "sqrt",
) -> FactorSchedule:
    """Warm-up, stable, decay over `total_steps`.

    `warmup` and `decay` are each a share of `total_steps` if below 1, a number of steps otherwise.
    """
    warmup_steps, decay_steps = _steps("warmup", warmup, total_steps), _steps("decay", decay, total_steps)
    if warmup < 1 and decay < 1 and warmup + decay <= 1:
        decay_steps = min(decay_steps, total_steps - warmup_steps)  # both shares may have been rounded up
    _check_final(final)
    if shape not in get_args(Shape):
        raise UserError(f"schedule.shape is {shape!r}, but must be one of {list(get_args(Shape))}")
    if warmup_steps + decay_steps > total_steps:
        raise UserError(
            f"schedule.warmup is {warmup_steps} steps and schedule.decay {decay_steps}, together more than the "
            f"{total_steps} steps of the training; shorten them (below 1 is a share of the training) or train longer"
        )
    return FactorSchedule(
        optimizer, lambda step: warmup_stable_decay(step, total_steps, warmup_steps, decay_steps, final, shape)
    )


def constant(optimizer: Optimizer, total_steps: int, warmup: float = 0.0) -> FactorSchedule:
    """Warm-up, then the full rate for as long as training goes on."""
    return wsd(optimizer, total_steps, warmup=warmup, decay=0.0, final=1.0)


def climb(optimizer: Optimizer, total_steps: int, lowest: float, highest: float) -> FactorSchedule:
    """The learning rate of the fastest group from `lowest` to `highest` over `total_steps`, each step the same factor
    above the one before: a test of rates, not a training (Smith 2017, "Cyclical Learning Rates", section 3.3).
    """
    if not 0 < lowest < highest:
        raise UserError(
            f"the rate is to climb from {lowest:g} to {highest:g}; the first must be above 0 and below the second"
        )
    fastest = max(float(group["lr"]) for group in optimizer.param_groups)
    growth = highest / lowest
    return FactorSchedule(
        optimizer, lambda step: lowest / fastest * growth ** (min(step, total_steps) / max(1, total_steps - 1))
    )


def _steps(name: str, value: float, total_steps: int) -> int:
    """A share (below 1) or a whole number of steps, in steps."""
    if not value >= 0 or (value >= 1 and value != int(value)):
        raise UserError(
            f"schedule.{name} is {value}, but must be a share of the training (at least 0, below 1) or a whole number "
            "of steps"
        )
    return min(round(value * total_steps), total_steps - 1) if value < 1 else int(value)


def _check_final(final: float) -> None:
    if not 0 <= final <= 1:
        raise UserError(
            f"schedule.final is {final}, but must be at least 0 and at most 1: it multiplies the learning rate"
        )
