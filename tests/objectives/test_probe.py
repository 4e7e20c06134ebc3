"""A probe learns what a classifier with a frozen tower learns, and asks the tower once for each sample."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from triptych.features.pixels import Pixels
from triptych.objectives.classification import ClassificationObjective
from triptych.objectives.probe import ProbeObjective
from triptych.optim.adamw import adamw
from triptych.optim.schedule import cosine

Make = Callable[..., Any]


class Counting(nn.Module):
    """A frozen tower and a head; counts the samples that the tower sees."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.tower = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Tanh()).requires_grad_(False)
        self.head = nn.Linear(8, 3)
        self.seen = 0

    def embed(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return self.tower(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.embed(images))


def make(kind: type[ClassificationObjective]) -> ClassificationObjective:
    pixels = Pixels([0.5] * 3, [0.25] * 3)
    return kind(Counting(), partial(adamw, lr=1e-2), partial(cosine, warmup=2.0), 3, pixels, micro_batch_size=3)


@pytest.mark.parametrize("size", [5, 8])
def test_it_is_a_classifier_with_a_frozen_tower_whose_features_are_kept(loader: Make, trainer: Make, size: int) -> None:
    plain, probe = make(ClassificationObjective), make(ProbeObjective)
    results = []
    for objective in (plain, probe):
        run = trainer(max_epochs=4)
        run.fit(objective, loader(12, size), loader(7, 4))
        results.append(run.validate(objective, loader(7, 4), verbose=False)[0])
    assert results[0] == pytest.approx(results[1])
    torch.testing.assert_close(plain.model.state_dict(), probe.model.state_dict())
    seen = [objective.model.seen for objective in (plain, probe) if isinstance(objective.model, Counting)]
    assert seen[1] == 12 + 7 + 7  # each sample once; the second trainer starts anew
    assert seen[0] > 2 * seen[1]


def test_an_empty_share_of_a_batch_leaves_no_features_behind() -> None:
    probe = make(ProbeObjective)
    probe.setup("fit")
    empty = {
        "image": torch.zeros(0, 3, 4, 4, dtype=torch.uint8),
        "label": torch.zeros(0).long(),
        "index": torch.zeros(0),
    }
    blank = probe.blank(empty)
    assert torch.isfinite(probe.loss(blank))
    assert probe.loss({**blank, "index": torch.tensor([0])}).isfinite()
    assert isinstance(probe, ProbeObjective)
    assert set(probe._features) == {("train", 0)}
