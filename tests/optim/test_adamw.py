"""AdamW: the same numbers whatever the kernel, and settings out of range refused."""

from typing import Any

import pytest
import torch
from torch import nn

from triptych.errors import UserError
from triptych.optim.adamw import adamw


def trained(steps: int, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    optimizer = adamw(model, lr=0.01, weight_decay=0.1, **settings)
    for step in range(steps):
        optimizer.zero_grad()
        model(torch.randn(3, 4, generator=torch.Generator().manual_seed(step))).square().mean().backward()
        optimizer.step()
    return model


def test_auto_is_fused_on_a_cpu_and_agrees_with_the_loop() -> None:
    assert adamw(nn.Linear(2, 2)).defaults["fused"]
    for fast, slow in zip(trained(5).parameters(), trained(5, fused=False).parameters(), strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-6, atol=1e-7)


def test_auto_falls_back_where_there_is_no_fused_kernel_and_true_insists() -> None:
    model = nn.Linear(2, 2, device="meta")
    assert not adamw(model).defaults["fused"]
    with pytest.raises(UserError, match=r"fused=true, but the parameters are on \['meta'\]"):
        adamw(model, fused=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.0}, "lr is 0.0, but must be above 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"betas": [0.9, 1.0]}, r"betas is \[0.9, 1.0\].*below 1"),
        ({"betas": [0.9]}, "two numbers"),
        ({"eps": 0.0}, "eps is 0.0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1, but must be at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        adamw(nn.Linear(2, 2), **settings)
