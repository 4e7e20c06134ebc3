"""The contrastive model's own promises, over two and three towers."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from triptych.errors import UserError
from triptych.models.contrastive import Contrastive
from triptych.nn.feedforward import QuickGELUFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import ClassTokenPool, LastTokenPool
from triptych.nn.position import LearnedPosition
from triptych.towers.text import TextTower
from triptych.towers.vision import VisionTower

PARTS: dict[str, Any] = {
    "depth": 1, "mixer": partial(SoftmaxMixer, heads=2), "feedforward": QuickGELUFeedForward, "norm": LayerNorm,
    "position": LearnedPosition,
}  # fmt: skip


def image(dim: int = 16, channels: int = 3) -> VisionTower:
    patch = partial(PatchEmbedding, patch_size=4, channels=channels, bias=False)
    return VisionTower(8, dim, patch=patch, pool=ClassTokenPool, input_norm=LayerNorm, **PARTS)


def text(dim: int = 8) -> TextTower:
    return TextTower(20, 6, dim, pool=LastTokenPool, end_token=19, **PARTS)


def make(**given: Any) -> Contrastive:
    torch.manual_seed(0)
    return Contrastive(**{"towers": {"image": image(), "text": text()}, "embedding_dim": 12, **given})


def test_embeddings_have_unit_length_and_every_parameter_a_gradient() -> None:
    model = make(logit_bias_init=-10.0)
    ids, lengths = torch.randint(0, 19, (3, 6)), torch.tensor([2, 6, 3])
    both = model({"image": torch.randn(3, 3, 8, 8), "text": (ids, lengths)})
    for embedding in both.values():
        assert embedding.shape == (3, 12)
        torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(both["text"], model.embed("text", ids, lengths))
    assert model.logit_bias is not None
    ((both["image"] @ both["text"].T * model.logit_scale.exp() + model.logit_bias) * torch.randn(3, 3)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_three_towers() -> None:
    model = make(towers={"image": image(), "text": text(), "depth": image(channels=1)})
    assert model.modalities == ("image", "text", "depth")
    assert model.embed("depth", torch.randn(2, 1, 8, 8)).shape == (2, 12)


def test_embeddings_are_float32_under_autocast() -> None:
    model = make()
    with torch.autocast("cpu", torch.bfloat16):
        embedding = model.embed("image", torch.randn(2, 3, 8, 8))
    assert embedding.dtype == torch.float32
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(2))
    assert model.double().embed("image", torch.randn(2, 3, 8, 8).double()).dtype == torch.float64


@pytest.mark.parametrize(("start", "end"), [(-1.0, 0.0), (3.0, 3.0), (9.0, math.log(100))])
def test_scale_is_kept_in_bounds(start: float, end: float) -> None:
    model = make(logit_scale_init=start)
    model.clamp_()
    assert model.logit_scale.item() == pytest.approx(end)


def test_a_locked_tower_is_out_of_training() -> None:
    model = make(locked=["image"]).train()
    assert not model.towers["image"].training
    assert model.towers["text"].training
    assert {name.split(".")[1] for name, p in model.named_parameters() if not p.requires_grad} == {"image"}
    assert model.projections["image"].training
    assert all(p.requires_grad for p in model.projections.parameters())
    assert not model.train().towers["image"].training


def test_projections_are_parts() -> None:
    class Deep(nn.Sequential):
        def __init__(self, width: int, embedding_dim: int) -> None:
            super().__init__(nn.Linear(width, width), nn.GELU(), nn.Linear(width, embedding_dim))

    model = make(embedding_dim=16, projections={"image": None, "text": Deep})
    assert isinstance(model.projections["image"], nn.Identity)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(model.encode("image", images), model.towers["image"](images).pooled)
    assert model.embed("text", torch.randint(0, 20, (2, 6))).shape == (2, 16)


def test_preprocess_fits_the_image_tower() -> None:
    model = make(towers={"image": image(channels=1), "text": text()})
    assert model.preprocess is not None
    assert model.embed("image", model.preprocess(torch.zeros(2, 1, 30, 20, dtype=torch.uint8))).shape == (2, 12)


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="at least two towers, not image"):
        make(towers={"image": image()})
    with pytest.raises(ValueError, match="no tower 'audio'; the towers are image, text"):
        make(projections={"audio": None})
    with pytest.raises(ValueError, match="'image' gives embeddings 16 wide and has no projection"):
        make(projections={"image": None})
    with pytest.raises(UserError, match="no tower 'sound'; its towers are image, text"):
        make().embed("sound", torch.zeros(1))
