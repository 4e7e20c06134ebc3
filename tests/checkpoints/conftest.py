"""A checkpoint as Lightning makes them, and what it takes to compare two."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from triptych.checkpoints.format import write_checkpoint
from triptych.checkpoints.rng import rng_state


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor):
        return (
            isinstance(right, Tensor)
            and (left.dtype, left.shape) == (right.dtype, right.shape)
            and left.detach()
            .contiguous()
            .reshape(-1)
            .view(torch.uint8)
            .equal(right.contiguous().reshape(-1).view(torch.uint8))
        )
    if isinstance(left, np.ndarray | np.generic):
        return (
            type(left) is type(right)
            and left.dtype == right.dtype
            and left.shape == right.shape
            and left.tobytes() == right.tobytes()
        )
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, complex):
        return _same(left.real, right.real) and _same(left.imag, right.imag)
    if isinstance(left, float):
        return left.hex() == right.hex() or (math.isnan(left) and math.isnan(right))
    return left == right


@pytest.fixture(scope="session")
def same() -> Callable[[Any, Any], bool]:
    """Whether two nested states are equal to the last bit, in type and in order."""
    return _same


@pytest.fixture
def checkpoint() -> dict[str, Any]:
    torch.manual_seed(0)
    weight = torch.randn(6, 4)
    return {
        "epoch": 2,
        "global_step": 70,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {
            "model.tower.weight": weight,
            "model.tower.tied": weight,
            "model.tower.rows": weight[1:3],
            "metric.count": torch.tensor(3),
            "model.tower.columns": weight.t(),
            "model.tower.scalar": torch.tensor(-0.0),
            "model.tower.empty": torch.empty(0, 5),
            "model.tower.half": torch.randn(7).bfloat16(),
            "model.tower.flags": torch.tensor([True, False]),
        },
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 3}}}},
        "optimizer_states": [
            {
                "state": {0: {"step": torch.tensor(70.0), "exp_avg": torch.randn(6, 4)}, 1: {}},
                "param_groups": [
                    {"lr": 0.1, "betas": (0.9, 0.999), "maximize": False, "foreach": None, "params": [0, 1]}
                ],
            }
        ],
        "lr_schedulers": [{"last_epoch": 70, "_last_lr": [0.1], "best": math.inf}],
        "callbacks": {"Checkpointing": {"best_score": math.nan}},
        "hyper_parameters": {"seed": 0},
        "ema": {"tower.weight": weight * 0.5, "tower.scalar": torch.tensor(1.0)},
        "rng": [rng_state()],
        "triptych": {
            "config": {"model": {"_target_": "triptych.models.Classifier"}, "classes": ["a", "b"]},
            "samples": 4480,
        },
    }


@pytest.fixture
def folder(tmp_path: Path, checkpoint: dict[str, Any]) -> Path:
    """A run's checkpoints folder with that checkpoint in it as step 70."""
    store = tmp_path / "run" / "checkpoints"
    write_checkpoint(store / "step_0000070", checkpoint)
    return store
