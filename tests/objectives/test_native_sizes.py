"""Micro-batches by tokens add up to the gradients of the batch, and what mixes images refuses native sizes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from triptych.errors import UserError
from triptych.features.mixed_images import MixedImages
from triptych.features.native_size import NativeSize
from triptych.models.classifier import Classifier
from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import ClassTokenPool
from triptych.nn.position import LearnedPosition
from triptych.objectives.mixing import BatchMix
from triptych.objectives.native import check_native
from triptych.optim.schedule import constant
from triptych.towers.timm import TimmTower
from triptych.towers.vision import VisionTower

Make = Callable[..., Any]
GRIDS = [(3, 2), (1, 1), (4, 4), (2, 3), (5, 2), (1, 6), (4, 3)]


def model() -> Classifier:
    torch.manual_seed(0)
    tower = VisionTower(
        16, 16, 2, partial(PatchEmbedding, patch_size=4), partial(SoftmaxMixer, heads=2), GELUFeedForward, LayerNorm,
        LearnedPosition, ClassTokenPool,
    )  # fmt: skip
    return Classifier(tower, 3)


def batches(native: NativeSize) -> DataLoader[Any]:
    """One batch."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(256, (3, 4 * r, 4 * c), dtype=torch.uint8, generator=generator) for r, c in GRIDS]
    labels = torch.arange(len(images)) % 3
    batch = {"image": MixedImages.of(images, native), "label": labels, "index": torch.arange(len(images))}
    return DataLoader([batch], batch_size=None, collate_fn=lambda batch: batch)  # pyright: ignore[reportArgumentType]


def gradients(objective: Make, trainer: Make, native: NativeSize, **settings: Any) -> tuple[list[Tensor], list[int]]:
    made = objective(model=model(), schedule=lambda optimizer, _: constant(optimizer, 1), **settings)
    held: list[int] = []
    made.model.register_forward_pre_hook(lambda _, inputs: held.append(sum(inputs[0].tokens)))
    trainer(max_steps=1, max_epochs=-1).fit(made, batches(native))
    return [p.grad for p in made.parameters() if p.grad is not None], held


@pytest.mark.parametrize("route", ["packed", "padded"])
def test_micro_batches_by_tokens_give_the_gradients_of_the_batch(objective: Make, trainer: Make, route: str) -> None:
    whole, held = gradients(objective, trainer, NativeSize(4, 16, route=route))
    assert held == [sum(rows * columns for rows, columns in GRIDS)]
    for budget, size in ((16, None), (30, None), (40, 2)):
        native = NativeSize(4, 16, max_batch_tokens=budget, route=route)
        split, held = gradients(objective, trainer, native, micro_batch_size=size)
        assert len(held) > 1
        assert max(held) <= budget
        for left, right in zip(whole, split, strict=True):
            torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-6)


def test_normalised_images_are_those_of_a_dense_batch(objective: Make) -> None:
    made = objective()
    images = torch.randint(256, (3, 3, 8, 4), dtype=torch.uint8)
    mixed = made.normalise(MixedImages.of(list(images), NativeSize(4)))
    assert torch.equal(torch.stack(list(mixed)), made.normalise(images))


def test_mixing_is_refused_in_the_objective(objective: Make, trainer: Make) -> None:
    made = objective(model=model(), mix=BatchMix(mixup=1.0), schedule=lambda optimizer, _: constant(optimizer, 1))
    with pytest.raises(UserError, match="mixes images of one size, and these have their own: take mix=null"):
        trainer(max_steps=1, max_epochs=-1).fit(made, batches(NativeSize(4)))


RUN = {"objective": {"mix": None}, "trainer": {"compile": False}}


@pytest.mark.parametrize(
    ("native", "changes", "told"),
    [
        (NativeSize(8), {}, r"patch_size=\[8, 8\] .* cuts patches of \[4, 4\] pixels"),
        (NativeSize(4), {"objective": {"mix": {"mixup": 1}}}, "set objective/mix=null"),
        (NativeSize(4), {"objective": {"teacher": {}}}, "take objective=classification"),
        (NativeSize(4), {"trainer": {"compile": True}}, "set trainer.compile=false"),
    ],
)
def test_what_needs_one_size_is_refused(native: NativeSize, changes: dict[str, Any], told: str) -> None:
    check_native(NativeSize(4), model().tower, RUN)
    with pytest.raises(UserError, match=told):
        check_native(native, model().tower, {**RUN, **changes})


def test_a_model_of_timm_is_refused() -> None:
    other = Classifier(TimmTower("resnet10t", 32), 3)
    with pytest.raises(UserError, match="resnet10t takes images of one size: choose a ViT"):
        check_native(NativeSize(4), other.tower, RUN)
