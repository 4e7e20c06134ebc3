"""Attention maps of whole models against an explicit softmax, for every kind of model."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.analysis.attention import attention_maps
from triptych.analysis.rollout import attention_rollout, gradient_rollout
from triptych.errors import UserError
from triptych.models.classifier import Classifier
from triptych.nn.attention import rotate
from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.layout import SequenceLayout
from triptych.nn.mixers.base import Abilities, Mixer
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm, RMSNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import AttentionPool, ClassTokenPool, MeanPool
from triptych.nn.position import LearnedPosition, RotaryPosition
from triptych.nn.recompute import whole
from triptych.towers.vision import VisionTower

POOLS: dict[str, Callable[..., Any]] = {
    "class token": ClassTokenPool,
    "mean": MeanPool,
    "mean beside a class token": partial(MeanPool, class_token=True),
    "attention": partial(AttentionPool, heads=2),
}
MIXERS: dict[str, dict[str, Any]] = {"plain": {}, "grouped heads": {"kv_heads": 2}, "qk-norm": {"qk_norm": RMSNorm}}
POSITIONS: dict[str, Callable[..., Any]] = {"learned": LearnedPosition, "rotary": RotaryPosition}
SIZES = [(8, 16), (12, 4), (8, 16), (16, 16)]


class Shift(Mixer):
    """Each token takes what its neighbour says: no attention at all."""

    abilities = Abilities(bidirectional=True, packed=True)
    rotary_dim = None

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, layout: SequenceLayout, state: None = None) -> tuple[Tensor, None]:
        return self.out(x.roll(1, -2)), None


def make(pool: str = "class token", registers: int = 2, mixer: Any = None, position: Any = LearnedPosition,
         depth: int = 2) -> Classifier:  # fmt: skip
    torch.manual_seed(0)
    tower = VisionTower(
        16, 16, depth, partial(PatchEmbedding, patch_size=4), mixer or partial(SoftmaxMixer, heads=4), GELUFeedForward,
        LayerNorm, position, POOLS[pool], registers, stochastic_depth=0.3, patch_dropout=0.5,
    )  # fmt: skip
    model = Classifier(tower, 5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def mixed_images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(3, *size, generator=generator) for size in SIZES]


def blocks_of(model: Classifier) -> list[Any]:
    return list(model.tower.stack.blocks)


def explicit(model: Classifier, image: Tensor) -> tuple[list[Tensor], Tensor | None]:
    """Each layer's (heads, tokens, tokens), and the pool's (heads, patches), written out for one image."""
    x, layout = model.tower.embed(image[None])
    maps = []
    for block in blocks_of(model):
        mixer: Any = block.mixer
        q, k, _ = (part.unflatten(-1, (-1, mixer.head_dim)) for part in mixer.qkv.parts(block.mixer_norm(x)))
        if mixer.query_norm is not None:
            q, k = mixer.query_norm(q), mixer.key_norm(k)
        if layout.rotary is not None:
            q, k = rotate(q, layout.rotary), rotate(k, layout.rotary)
        k = k.repeat_interleave(mixer.heads // mixer.kv_heads, 2)
        maps.append(torch.einsum("bqhd,bkhd->bhqk", q, k).div(mixer.head_dim**0.5).softmax(-1)[0])
        x = block(x, layout)
    pool: Any = model.tower.pool
    if not isinstance(pool, AttentionPool):
        return maps, None
    q = pool.query(pool.latent).view(pool.heads, -1)
    k = pool.key_value.parts(model.tower.stack.norm(x)[0, layout.prefix :])[0].unflatten(-1, (pool.heads, -1))
    return maps, torch.einsum("hd,khd->hk", q, k).div(q.shape[-1] ** 0.5).softmax(-1)


@pytest.mark.parametrize(("pool", "mixer", "position", "registers"), list(product(POOLS, MIXERS, POSITIONS, [0, 3])))
def test_maps_are_the_explicit_softmax(pool: str, mixer: str, position: str, registers: int) -> None:
    model = make(pool, registers, partial(SoftmaxMixer, heads=4, **MIXERS[mixer]), POSITIONS[position])
    batch = torch.randn(2, 3, 16, 16)
    before = model(batch)
    for images in (batch, mixed_images()):
        maps = attention_maps(model, images)
        assert sorted(maps.layers) == [0, 1]
        torch.testing.assert_close(maps.output, model(images), rtol=1e-5, atol=1e-5)
        for place, image in enumerate(images):
            with torch.no_grad():
                layers, of_pool = explicit(model, image)
            for number, wanted in enumerate(layers):
                got = maps.layers[number][place]
                torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
                torch.testing.assert_close(got.sum(-1), torch.ones(got.shape[:-1]))
                rows = wanted[:, :1] if pool == "class token" else wanted[:, maps.prefix :]
                grid = (image.shape[1] // 4, image.shape[2] // 4)
                on_grid = rows[:, :, maps.prefix :].mean(1).reshape(4, *grid)
                torch.testing.assert_close(maps.on_grid(number)[place], on_grid, rtol=1e-5, atol=1e-6)
            assert (of_pool is None) == (maps.pool is None)
            if of_pool is not None:
                got = maps.pool_on_grid()[place]
                torch.testing.assert_close(got.flatten(1), of_pool, rtol=1e-5, atol=1e-6)
                assert got.shape[1:] == (image.shape[1] // 4, image.shape[2] // 4)
    assert torch.equal(model(batch), before)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("images", ["batch", "mixed"])
def test_rollout_is_the_product_of_the_layers(pool: str, images: str) -> None:
    model = make(pool)
    given = torch.randn(3, 3, 16, 16) if images == "batch" else mixed_images()
    for fusion, fuse in (("mean", Tensor.mean), ("max", Tensor.amax), ("min", Tensor.amin)):
        rolled = attention_rollout(model, given, fusion)
        for image, got in zip(given, rolled, strict=True):
            with torch.no_grad():
                layers, of_pool = explicit(model, image)
            first, second = (0.5 * torch.eye(each.shape[-1]) + 0.5 * fuse(each, 0) for each in layers)
            product_ = (second / second.sum(1, keepdim=True)) @ (first / first.sum(1, keepdim=True))
            prefix = model.tower.prefix
            if of_pool is not None:
                wanted = fuse(of_pool, 0) @ product_[prefix:, prefix:]
            else:
                wanted = product_[0, prefix:] if pool == "class token" else product_[prefix:, prefix:].mean(0)
            torch.testing.assert_close(got.flatten(), wanted, rtol=1e-4, atol=1e-6)
            assert got.shape == (image.shape[1] // 4, image.shape[2] // 4)


def test_discarding_clears_the_smallest_weights_and_no_others() -> None:
    model, images = make(depth=1, registers=0), torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        weights = explicit(model, images[0])[0][0].mean(0)
    # The half of all weights to patches that is smallest, over the whole layer.
    limit = weights[:, 1:].flatten().sort().values[weights[:, 1:].numel() // 2]
    row = weights[0].clone()
    row[1:][row[1:] < limit] = 0
    row = 0.5 * row
    row[0] += 0.5
    wanted = (row / row.sum())[1:].reshape(4, 4)
    torch.testing.assert_close(attention_rollout(model, images, discard=0.5)[0], wanted, rtol=1e-5, atol=1e-6)


def gradients_written_out(model: Classifier, image: Tensor, target: int) -> Tensor:
    """The relevance by Chefer et al. from a forward pass of our own, in which the weights are leaves."""
    x, layout = model.tower.embed(image[None])
    leaves = []
    for block in blocks_of(model):
        mixer: Any = block.mixer
        q, k, v = (p.unflatten(-1, (4, 4)).transpose(1, 2) for p in mixer.qkv.parts(block.mixer_norm(x)))
        weights = (q @ k.transpose(2, 3) / 2).softmax(-1)
        leaves.append(weights)
        x = x + mixer.out((weights @ v).transpose(1, 2).flatten(2))
        x = block.transform(x, layout) + x
    logits = model.head(model.tower.pool(model.tower.stack.norm(x), layout))
    grads = torch.autograd.grad(logits[0, target], leaves)
    total = torch.eye(x.shape[1])
    for weights, grad in zip(leaves, grads, strict=True):
        total = total + (weights * grad)[0].clamp(min=0).mean(0) @ total
    prefix = model.tower.prefix
    if isinstance(model.tower.pool, ClassTokenPool):
        return total[0, prefix:].detach()
    return (total - torch.eye(x.shape[1]))[prefix:, prefix:].mean(0).detach()


@pytest.mark.parametrize("pool", ["class token", "mean"])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradient_rollout_is_the_paper_s(pool: str, frozen: bool, checkpointing: bool) -> None:
    model = make(pool)
    model.tower.stack.recompute(whole if checkpointing else None)
    images = mixed_images()
    wanted = [gradients_written_out(model, image, 3).detach() for image in images]
    model.requires_grad_(not frozen)
    model.train()
    with torch.no_grad():
        got = gradient_rollout(model, images, [3] * len(images))
    for ours, theirs in zip(got, wanted, strict=True):
        assert not ours.requires_grad
        assert theirs.max() > 0
        torch.testing.assert_close(ours.flatten(), theirs, rtol=1e-4, atol=1e-7)
    # Nothing of the model has changed: its mode, its gradients, its parts.
    assert model.training
    assert model.tower.stack.blocks[0].training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("pool", POOLS)
def test_gradient_rollout_takes_the_predicted_class_and_works_in_inference_mode(pool: str) -> None:
    model = make(pool)
    with torch.inference_mode():
        images = torch.randn(4, 3, 16, 16)
        predicted = model(images).argmax(1).tolist()
        got = gradient_rollout(model, images)
    for ours, same in zip(got, gradient_rollout(model, images.clone(), predicted), strict=True):
        torch.testing.assert_close(ours, same)
        assert ours.min() >= 0
        assert ours.max() > 0


def test_layers_and_heads_can_be_chosen() -> None:
    model, images = make(depth=3), torch.randn(2, 3, 16, 16)
    whole, part = attention_maps(model, images), attention_maps(model, images, layers=[-1, 0], heads=[2, -1])
    assert sorted(part.layers) == [0, 2]
    for number in (0, 2):
        for some, all_ in zip(part.layers[number], whole.layers[number], strict=True):
            torch.testing.assert_close(some, all_[[2, 3]])


def test_a_tower_alone_has_maps_too() -> None:
    model, images = make(), torch.randn(2, 3, 16, 16)
    for ours, same in zip(attention_maps(model.tower, images).layers[1], attention_maps(model, images).layers[1],
                          strict=True):  # fmt: skip
        assert torch.equal(ours, same)
    assert torch.equal(attention_rollout(model.tower, images)[1], attention_rollout(model, images)[1])


def test_gradients_go_to_the_class_that_is_asked_for() -> None:
    model, images = make(), torch.randn(1, 3, 16, 16)
    one, other = gradient_rollout(model, images, [0])[0], gradient_rollout(model, images, [1])[0]
    assert F.cosine_similarity(one.flatten(), other.flatten(), dim=0) < 0.999


def test_what_cannot_be_shown_is_said() -> None:
    images = torch.randn(1, 3, 16, 16)
    for look in (attention_maps, attention_rollout, gradient_rollout):
        with pytest.raises(UserError, match="layer 0 has no softmax attention to show: its mixer is Shift"):
            look(make(mixer=Shift), images)
    model = make()
    with pytest.raises(UserError, match=r"layer 2 is out of range: the model has layers 0 to 1 \(-1 is the last\)"):
        attention_maps(model, images, layers=[2])
    with pytest.raises(UserError, match="head 4 is out of range: there are heads 0 to 3"):
        attention_maps(model, images, heads=[4])
    with pytest.raises(UserError, match="no attention pool"):
        attention_maps(model, images).pool_on_grid()
    with pytest.raises(UserError, match="fusion is 'median'; heads are fused by one of mean, min, max"):
        attention_rollout(model, images, "median")
    with pytest.raises(UserError, match=r"discard is 1\.0; it must be at least 0 and below 1"):
        attention_rollout(model, images, discard=1.0)
    with pytest.raises(UserError, match="there are 2 targets for 1 images"):
        gradient_rollout(model, images, [0, 1])
    with pytest.raises(UserError, match="class 5 is out of range: the model has classes 0 to 4"):
        gradient_rollout(model, images, [5])
