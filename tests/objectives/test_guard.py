"""A value that is not finite stops the training, on a GPU's road too."""

import pytest
import torch

from triptych.errors import TrainingFault
from triptych.objectives.guard import FiniteGuard


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_an_eager_guard_raises_at_once_and_names_the_step(bad: float) -> None:
    guard = FiniteGuard()
    guard.watch("the loss", torch.tensor(1.0), 1)
    with pytest.raises(TrainingFault, match=f"the loss is {bad} at step 2") as fault:
        guard.watch("the loss", torch.tensor(bad), 2)
    assert fault.value.step == 2


def test_a_lazy_guard_remembers_the_first_bad_step_until_asked() -> None:
    guard = FiniteGuard(lazy=True)
    guard.check()
    for step, value in enumerate([1.0, float("inf"), float("nan"), 1.0], start=1):
        guard.watch("the loss", torch.tensor(value), step)
    with pytest.raises(TrainingFault, match=r"the loss is not finite.*at step 2") as fault:
        guard.check()
    assert fault.value.step == 2


def test_a_lazy_guard_takes_the_earliest_of_all_ranks() -> None:
    guard = FiniteGuard(lazy=True)
    guard.watch("the loss", torch.tensor(1.0), 9)
    with pytest.raises(TrainingFault, match="at step 5"):
        guard.check(lambda step: step.clamp(max=5))
