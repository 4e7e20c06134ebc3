"""The planned number of steps, from whatever bounds the training."""

from collections.abc import Callable
from typing import Any

import pytest
from lightning.pytorch import LightningDataModule, Trainer

from triptych.errors import UserError
from triptych.objectives.steps import planned_steps


class Data(LightningDataModule):
    def __init__(self, loader: Any, steps_per_epoch: int | None = None) -> None:
        super().__init__()
        self.loader = loader
        if steps_per_epoch is not None:
            self.steps_per_epoch = steps_per_epoch

    def train_dataloader(self) -> Any:
        return self.loader


@pytest.mark.parametrize(
    ("bounds", "steps"),
    [
        ({"max_steps": 7, "max_epochs": -1}, 7),
        ({"max_epochs": 2}, 6),
        ({"max_epochs": 2, "max_steps": 4}, 4),
        ({"max_epochs": 2, "max_steps": 40}, 6),
        ({"max_epochs": 2, "limit_train_batches": 2}, 4),
        ({"max_epochs": 2, "limit_train_batches": 0.67}, 4),
    ],
)
def test_the_plan_is_what_the_training_does(
    objective: Callable[..., Any],
    loader: Callable[..., Any],
    trainer: Callable[..., Trainer],
    bounds: dict[str, Any],
    steps: int,
) -> None:
    planned: list[int] = []

    def schedule(optimizer: Any, total_steps: int) -> Any:
        from triptych.optim.schedule import constant

        planned.append(total_steps)
        return constant(optimizer, total_steps)

    for data in (loader(10, 4), Data(loader(10, 4), 3)):
        run = trainer(**bounds)
        run.fit(objective(schedule=schedule), data)
        assert run.global_step == steps
    assert planned == [steps, steps]


def test_no_bound_is_refused(trainer: Callable[..., Trainer]) -> None:
    with pytest.raises(UserError, match="neither max_steps nor max_epochs is set"):
        planned_steps(trainer(max_epochs=-1))
