"""Schedules at their corners, across a resume, and with other totals."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from triptych.errors import UserError
from triptych.optim.schedule import climb, constant, cosine, warmup_cosine, warmup_stable_decay, wsd

FACTORIES = [partial(cosine, warmup=4.0), partial(wsd, warmup=4.0, decay=6.0), partial(constant, warmup=4.0)]


def optimizer(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates or (1.0,)])


def run(schedule: LRScheduler, steps: int) -> list[list[float]]:
    """The rates that each of the next steps uses."""
    used = []
    for _ in range(steps):
        used.append([group["lr"] for group in schedule.optimizer.param_groups])
        schedule.optimizer.step()
        schedule.step()
    return used


def test_cosine_corners() -> None:
    factor = partial(warmup_cosine, total_steps=110, warmup_steps=10, final=0.1)
    assert [factor(step) for step in (0, 4, 9, 10)] == [0.1, 0.5, 1.0, 1.0]
    assert factor(60) == pytest.approx(0.55)
    assert factor(110) == factor(500) == pytest.approx(0.1)
    assert factor(109) > 0.1


def test_warmup_stable_decay_corners() -> None:
    factor = partial(warmup_stable_decay, total_steps=100, warmup_steps=10, decay_steps=20, final=0.0)
    assert [factor(step) for step in (0, 9, 10, 79, 80)] == [0.1, 1.0, 1.0, 1.0, 1.0]
    assert factor(85) == pytest.approx(1 - math.sqrt(0.25))
    assert factor(85, shape="linear") == pytest.approx(0.75)
    assert factor(90, shape="cosine") == pytest.approx(0.5)
    assert factor(100) == factor(200) == 0.0
    assert factor(99) > 0


@settings(max_examples=50, deadline=None)
@given(total=st.integers(1, 200), warmup=st.floats(0.0, 0.5), decay=st.floats(0.0, 0.5), data=st.data())
def test_no_step_of_a_training_has_rate_zero_or_above_the_base(
    total: int, warmup: float, decay: float, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, total - 1))
    for schedule in (cosine(optimizer(), total, warmup), wsd(optimizer(), total, warmup, decay)):
        assert 0 < schedule.factor(step) <= 1


@pytest.mark.parametrize("factory", FACTORIES)
def test_groups_keep_their_proportion(factory: Callable[..., LRScheduler]) -> None:
    for small, large in run(factory(optimizer(1e-3, 1e-2), 20), 20):
        assert large == pytest.approx(10 * small)


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_resume_goes_on_as_if_never_stopped(factory: Callable[..., LRScheduler]) -> None:
    whole = run(factory(optimizer(0.3, 0.7), 20), 20)
    first = factory(optimizer(0.3, 0.7), 20)
    start = run(first, 7)
    state = first.state_dict()
    assert state == {"step": 7}
    second = factory(optimizer(0.3, 0.7), 20)
    second.load_state_dict(state)
    assert second.get_last_lr() == whole[7]
    assert start + run(second, 13) == whole


def test_a_resume_with_another_total_or_rate_follows_the_new_schedule() -> None:
    stopped = cosine(optimizer(1.0), 20, warmup=4.0)
    run(stopped, 20)
    longer = cosine(optimizer(2.0), 40, warmup=4.0)
    # As a resume does: the optimizer's own state comes first, with the old rates.
    longer.optimizer.load_state_dict(stopped.optimizer.state_dict())
    longer.load_state_dict(stopped.state_dict())
    assert run(longer, 20) == run(cosine(optimizer(2.0), 40, warmup=4.0), 40)[20:]


@pytest.mark.parametrize(("warmup", "steps"), [(0.1, 10), (0.25, 25), (0.0, 0), (7.0, 7), (1.0, 1)])
def test_a_warmup_below_one_is_a_share_and_else_steps(warmup: float, steps: int) -> None:
    factor = cosine(optimizer(), 100, warmup).factor
    assert factor(max(0, steps - 1)) == 1.0
    if steps > 1:
        assert factor(steps - 2) < 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cosine(optimizer(), 50, warmup=60.0), "warmup is 60 steps, but training is 50 steps long"),
        (lambda: wsd(optimizer(), 50, warmup=30.0, decay=30.0), "warmup is 30 steps and schedule.decay 30.*50 steps"),
        (lambda: cosine(optimizer(), 50, warmup=2.5), "warmup is 2.5, but must be a share.*or a whole number"),
        (lambda: cosine(optimizer(), 50, warmup=-1.0), "warmup is -1.0"),
        (lambda: cosine(optimizer(), 50, final=1.5), "final is 1.5, but must be at least 0 and at most 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_climb_goes_from_the_lowest_rate_to_the_highest_by_a_constant_factor() -> None:
    used = run(climb(optimizer(0.01, 0.1), 5, lowest=1e-4, highest=1.0), 5)
    assert [fast for _, fast in used] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    assert [slow for slow, _ in used] == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 1e-1])


@pytest.mark.parametrize(("lowest", "highest"), [(0.0, 1.0), (1.0, 0.1), (1.0, 1.0)])
def test_climb_must_climb(lowest: float, highest: float) -> None:
    with pytest.raises(UserError, match="the first must be above 0 and below the second"):
        climb(optimizer(), 5, lowest, highest)
