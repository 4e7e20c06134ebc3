"""Toys for the tests of objectives: a model, batches, and a trainer that says nothing."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from triptych.features.pixels import Pixels
from triptych.objectives.classification import ClassificationObjective
from triptych.optim.adamw import adamw
from triptych.optim.schedule import cosine

CLASSES = 3


def toy_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, CLASSES))


def toy_samples(count: int) -> list[dict[str, Tensor]]:
    """Images whose brightest channel tells the class."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    images = torch.randint(0, 150, (count, 3, 4, 4), generator=generator)
    images[torch.arange(count), labels] += 100
    images = images.to(torch.uint8)
    return [{"image": images[i], "label": labels[i], "index": torch.tensor(i)} for i in range(count)]


def toy_loader(count: int, batch_size: int) -> DataLoader[dict[str, Tensor]]:
    return DataLoader(toy_samples(count), batch_size=batch_size)  # pyright: ignore[reportArgumentType]


def toy_objective(**settings: Any) -> ClassificationObjective:
    defaults: dict[str, Any] = {
        "model": toy_model(),
        "optimizer": partial(adamw, lr=1e-2, weight_decay=0.1),
        "schedule": partial(cosine, warmup=2.0),
        "num_classes": CLASSES,
        "front_end": Pixels([0.5, 0.5, 0.5], [0.25, 0.25, 0.25]),
    }
    return ClassificationObjective(**{**defaults, **settings})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lightning's own use of torch, and its advice on loaders and logging intervals, are no fault of ours."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"))
            item.add_marker(
                pytest.mark.filterwarnings("ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning")
            )


@pytest.fixture
def objective() -> Callable[..., ClassificationObjective]:
    """Makes a ClassificationObjective over a toy model of 3 classes; settings override."""
    return toy_objective


@pytest.fixture
def loader() -> Callable[[int, int], DataLoader[dict[str, Tensor]]]:
    """Makes a loader of (count, batch_size)."""
    return toy_loader


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """Makes a quiet trainer on the CPU; settings override."""

    def make(**settings: Any) -> Trainer:
        defaults: dict[str, Any] = {
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
            "default_root_dir": tmp_path,
        }
        return Trainer(**{**defaults, **settings})

    return make
