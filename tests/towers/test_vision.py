"""Invariants of the vision tower and its classifier, over positions, pools and registers."""

import copy
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from triptych.models.classifier import Classifier
from triptych.nn.feedforward import GELUFeedForward, SwiGLUFeedForward
from triptych.nn.head import DistilledHead
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm, RMSNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import AttentionPool, ClassMeanPool, ClassTokenPool, DistilledPool, MeanPool
from triptych.nn.position import (
    LearnedPosition,
    LearnedRotaryPosition,
    NoPosition,
    RotaryPosition,
    SinusoidalPosition,
)
from triptych.nn.recompute import whole
from triptych.towers.vision import VisionTower

POSITIONS = {
    "learned": LearnedPosition,
    "learned, patches alone": partial(LearnedPosition, embed_prefix=False),
    "sinusoidal": SinusoidalPosition,
    "rotary": RotaryPosition,
    "learned and rotary": LearnedRotaryPosition,
    "none": NoPosition,
}
POOLS = {
    "class token": ClassTokenPool,
    "mean": MeanPool,
    "mean beside a class token": partial(MeanPool, class_token=True),
    "attention": partial(AttentionPool, heads=2),
}
MATRIX = list(product(POSITIONS, POOLS, [0, 3]))


def make(position: str = "learned", pooling: str = "class token", registers: int = 2, **settings: Any) -> Any:
    torch.manual_seed(0)
    parts: dict[str, Any] = {
        "image_size": 16,
        "dim": 16,
        "depth": 2,
        "patch": partial(PatchEmbedding, patch_size=4),
        "mixer": partial(SoftmaxMixer, heads=4),
        "feedforward": GELUFeedForward,
        "norm": LayerNorm,
        "position": POSITIONS[position],
        "pool": POOLS[pooling],
        "registers": registers,
    }
    model = Classifier(VisionTower(**{**parts, **settings}), 5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(("position", "pool", "registers"), MATRIX)
def test_invariants(position: str, pool: str, registers: int) -> None:
    model = make(position, pool, registers)
    images = torch.randn(3, 3, 16, 16)
    prefix = registers + int("class token" in pool)

    # Shapes, and a gradient on every parameter.
    output = model.tower(images)
    assert output.tokens.shape == (3, 16 + prefix, 16)
    assert output.pooled.shape == (3, 16)
    logits = model(images)
    (logits * torch.linspace(-1, 1, 15).view(3, 5)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []

    # Activation checkpointing changes nothing.
    plain = [p.grad for p in model.parameters()]
    again = copy.deepcopy(model)
    again.zero_grad()
    again.tower.stack.recompute(whole)
    assert torch.equal(again(images), logits)
    (again(images) * torch.linspace(-1, 1, 15).view(3, 5)).sum().backward()
    for ours, theirs in zip(plain, (p.grad for p in again.parameters()), strict=True):
        assert ours is not None
        assert theirs is not None
        assert torch.equal(ours, theirs)

    # Intermediate features end in the final one.
    features = model.tower.intermediates(images)
    assert len(features) == 2
    assert torch.equal(features[-1], output.tokens)

    # Packed images of several sizes equal each by itself; so do their gradients.
    mixed = [torch.randn(3, 16, 16), torch.randn(3, 8, 20), torch.randn(3, 16, 16), torch.randn(3, 4, 4)]
    weights = torch.linspace(-1, 1, 20).view(4, 5)
    results = []
    for logits in (model(mixed), torch.cat([model(image[None]) for image in mixed])):
        model.zero_grad()
        (logits * weights).sum().backward()
        results.append([logits.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    for packed, separate in zip(*results, strict=True):
        tolerance = 2e-6 * max(1.0, float(separate.abs().max()))
        torch.testing.assert_close(packed, separate, rtol=0, atol=tolerance)


def test_state_dict_round_trip_and_head_reset() -> None:
    model, other = make(), make(registers=2)
    torch.nn.init.normal_(other.head.weight)
    images = torch.randn(2, 3, 16, 16)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(images), model(images))
    embedding = model.embed(images)
    model.reset_head(9)
    assert model.num_classes == 9
    assert model(images).shape == (2, 9)
    assert torch.equal(model.embed(images), embedding)
    model.reset_head(0)
    assert model.num_classes == 0
    assert torch.equal(model(images), embedding)
    with pytest.raises(ValueError, match="num_classes is -1"):
        model.reset_head(-1)


@pytest.mark.parametrize("position", POSITIONS)
def test_patch_dropout_leaves_the_work_out_in_training_alone(position: str) -> None:
    model = make(position, "mean", 0, image_size=32, patch_dropout=0.5)
    images = torch.randn(4, 3, 32, 32)

    def flops() -> float:
        with FlopCounterMode(display=False) as counter:
            model(images).sum().backward()
        return counter.get_total_flops()

    dense = flops() if not model.eval().training else 0.0
    assert model.tower(images).tokens.shape[1] == 64
    model.train()
    assert model.tower(images).tokens.shape[1] == 32
    # Linear layers halve; attention, quadratic in tokens, falls to a quarter.
    assert 0.25 < flops() / dense <= 0.5
    assert not torch.equal(model(images), model(images))


def test_patch_dropout_keeps_each_patch_at_its_own_place() -> None:
    """With every patch kept but shuffled, the mean is that of the whole image: position and content move together."""
    for position in ("learned", "sinusoidal", "rotary", "learned and rotary"):
        model = make(position, "mean", 0).train()
        images = torch.randn(2, 3, 16, 16)
        whole = model(images)
        model.tower.patch_dropout.rate = 1e-9
        torch.testing.assert_close(model(images), whole, rtol=1e-4, atol=1e-5)


def test_sample_dropping_works_packed() -> None:
    model = make("rotary", "mean", 2, stochastic_depth=0.6, patch_dropout=0.3).train()
    logits = model([torch.randn(3, 16, 16), torch.randn(3, 8, 20), torch.randn(3, 16, 16)])
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="18 x 16 pixels"):
        make(image_size=(18, 16))
    with pytest.raises(ValueError, match=r"patch_dropout is 1\.0"):
        make(patch_dropout=1.0)
    with pytest.raises(ValueError, match="head width is 2"):
        make("rotary", mixer=partial(SoftmaxMixer, heads=8))


def with_pool(pool: Any, registers: int) -> VisionTower:
    return VisionTower(
        16, 16, 2, partial(PatchEmbedding, patch_size=4), partial(SoftmaxMixer, heads=4), GELUFeedForward, LayerNorm,
        RotaryPosition, pool, registers,
    )  # fmt: skip


@pytest.mark.parametrize("pool", [ClassMeanPool, DistilledPool])
def test_pools_that_put_tokens_side_by_side(pool: Any) -> None:
    head = DistilledHead if pool is DistilledPool else None
    tower = with_pool(pool, 2)
    model = Classifier(tower, 5, head=head)
    for linear in model.head.modules():
        if isinstance(linear, torch.nn.Linear):
            torch.nn.init.normal_(linear.weight)
    images = torch.randn(3, 3, 16, 16)
    assert tower.embedding_dim == 32
    assert model.embed(images).shape == (3, 32)
    model(images).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    mixed = [images[0], torch.randn(3, 8, 20)]
    torch.testing.assert_close(model(mixed)[0], model(images[:1])[0], rtol=1e-4, atol=1e-5)
    model.reset_head(2)
    assert not model(images).any()
    with pytest.raises(ValueError, match="registers is 0, but DistilledPool reads 1"):
        with_pool(DistilledPool, 0)


def test_a_distilled_head_is_the_mean_of_two() -> None:
    head = DistilledHead(8, 3)
    x = torch.randn(4, 8)
    torch.testing.assert_close(head(x), (head.of_class(x[:, :4]) + head.of_distillation(x[:, 4:])) / 2)


def test_other_parts_compose() -> None:
    model = make(
        feedforward=SwiGLUFeedForward,
        norm=RMSNorm,
        mixer=partial(SoftmaxMixer, heads=4, kv_heads=1, qk_norm=RMSNorm),
        patch=partial(PatchEmbedding, patch_size=4, stride=2, channels=1),
        layer_scale=1e-2,
    )
    assert model(torch.randn(2, 1, 16, 16)).shape == (2, 5)
    assert model.tower.channels == 1
