"""An image among others, packed or padded, gives what it gives alone: for every position and pool."""

import copy
import random
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from triptych.features.mixed_images import MixedImages
from triptych.features.native_size import NativeSize
from triptych.models.classifier import Classifier
from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import AttentionPool, ClassTokenPool, MeanPool
from triptych.nn.position import LearnedPosition, RotaryPosition, SinusoidalPosition
from triptych.towers.vision import VisionTower

POSITIONS = {"learned": LearnedPosition, "sinusoidal": SinusoidalPosition, "rotary": RotaryPosition}
POOLS = {"class token": ClassTokenPool, "mean": MeanPool, "attention": partial(AttentionPool, heads=2)}
PATCH = 16


def make(position: str, pool: str, **settings: Any) -> Classifier:
    torch.manual_seed(0)
    tower = VisionTower(
        160, 32, 2, partial(PatchEmbedding, patch_size=PATCH), partial(SoftmaxMixer, heads=2), GELUFeedForward,
        LayerNorm, POSITIONS[position], POOLS[pool], registers=1, **settings,
    )  # fmt: skip
    model = Classifier(tower, 7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def draw_images(seed: int, count: int = 5) -> list[Tensor]:
    """Images of 96 to 256 px a side, two of one size."""
    draw = random.Random(seed)
    grids = [(draw.randint(6, 16), draw.randint(6, 16)) for _ in range(count)]
    return [torch.randn(3, PATCH * rows, PATCH * columns) for rows, columns in [*grids, grids[0]]]


def batch(images: list[Tensor], route: str) -> MixedImages:
    return MixedImages.of(images, NativeSize(PATCH, 256, route=route))


@pytest.mark.parametrize(("position", "pool"), list(product(POSITIONS, POOLS)))
def test_each_image_gives_what_it_gives_alone(position: str, pool: str) -> None:
    model = make(position, pool)
    for seed in range(2):
        images = draw_images(seed)
        with torch.no_grad():
            alone = torch.cat([model(image[None]) for image in images])
            for route in ("packed", "padded"):
                torch.testing.assert_close(model(batch(images, route)), alone, rtol=0, atol=1e-5)
            torch.testing.assert_close(model(images), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("position", "pool"), [("learned", "class token"), ("rotary", "attention"), ("sinusoidal", "mean")]
)
def test_both_routes_train_alike(position: str, pool: str) -> None:
    """Stochastic depth draws the same samples in both, so gradients agree with it too."""
    gradients = []
    images = draw_images(3)
    for route in ("packed", "padded"):
        model = make(position, pool, stochastic_depth=0.4)
        torch.manual_seed(1)
        model(batch(images, route)).square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 20
    for left, right in zip(*gradients, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5 * float(left.abs().max()))


@pytest.mark.parametrize("position", POSITIONS)
def test_patch_dropout_leaves_its_share_of_each_image_out(position: str) -> None:
    model = make(position, "class token", patch_dropout=0.5).train()
    images = draw_images(4)
    output = model.tower(batch(images, "packed"))
    assert output.layout.host_sizes == tuple(2 + round(0.5 * i.shape[1] * i.shape[2] / PATCH**2) for i in images)
    whole = copy.deepcopy(model).eval()
    assert whole.tower(batch(images, "packed")).layout.host_sizes == tuple(
        2 + i.shape[1] * i.shape[2] // PATCH**2 for i in images
    )


def test_images_of_one_size_are_the_dense_batch() -> None:
    model = make("learned", "mean")
    images = [torch.randn(3, 96, 112) for _ in range(3)]
    with torch.no_grad():
        dense = model(torch.stack(images))
        for route in ("packed", "padded"):
            torch.testing.assert_close(model(batch(images, route)), dense, rtol=0, atol=1e-6)
