"""The classifier's own promises; the invariants over parts are with the tower."""

from functools import partial

import torch

from triptych.features.preprocess import Preprocess
from triptych.models.classifier import Classifier
from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import MeanPool
from triptych.nn.position import LearnedPosition
from triptych.towers.vision import VisionTower


def make(channels: int = 3) -> VisionTower:
    return VisionTower(
        (8, 16), 16, 1, partial(PatchEmbedding, patch_size=4, channels=channels), partial(SoftmaxMixer, heads=2),
        GELUFeedForward, LayerNorm, LearnedPosition, MeanPool,
    )  # fmt: skip


def test_starts_from_equal_odds() -> None:
    model = Classifier(make(), 7)
    assert not model(torch.randn(2, 3, 8, 16)).any()


def test_preprocess_fits_the_tower_unless_given() -> None:
    model = Classifier(make(1), 3)
    assert model.preprocess.image_size == (8, 16)
    assert model(model.preprocess(torch.zeros(2, 1, 30, 30, dtype=torch.uint8))).shape == (2, 3)
    given = Preprocess((8, 16), (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    assert Classifier(make(), 3, given).preprocess is given
