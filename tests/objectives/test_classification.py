"""The classification objective learns, counts and reports."""

from collections.abc import Callable
from typing import Any


def test_it_learns_a_separable_toy(
    objective: Callable[..., Any], loader: Callable[..., Any], trainer: Callable[..., Any]
) -> None:
    model = objective()
    run = trainer(max_steps=60, max_epochs=-1)
    run.fit(model, loader(48, 16), loader(48, 16))
    metrics = run.validate(model, loader(30, 7), verbose=False)[0]
    assert metrics["val/accuracy"] > 0.9
    assert run.global_step == 60
