"""Weights fit a model of another size as the same function as far as they can, and every one is accounted for."""

import pytest
import torch
from torch import nn

import triptych
from triptych.weights import adapt_from, fit_weights


def make(classes: int = 4, channels: int = 3, **parts: object) -> nn.Module:
    overrides = {"tower.depth": 2, "tower.dim": 24, "tower.image_size": 32, "tower.patch.patch_size": 8, **parts}
    model = triptych.create("vit_tiny_patch16_224", classes, channels, overrides)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def test_the_same_model_takes_everything() -> None:
    given, model = make(), make()
    fit = adapt_from(model, given, keep_head=True)
    assert (fit.resized, fit.new, fit.unused) == ([], [], [])
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(given(images), model(images))
    assert str(fit) == f"{len(fit.loaded)} loaded"


def test_colour_and_grey_see_a_grey_picture_alike() -> None:
    grey = torch.randn(2, 1, 32, 32)
    colour = grey.expand(-1, 3, -1, -1)
    for given, model, before, after in (
        (make(), make(channels=1), colour, grey),
        (make(channels=1), make(), grey, colour),
    ):
        fit = adapt_from(model, given, keep_head=True)
        assert fit.resized == ["tower.patch.projection.weight"]
        torch.testing.assert_close(model(after), given(before), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("classes", "keep"), [(7, True), (4, False)])
def test_another_head_stays_new(classes: int, keep: bool) -> None:
    given, model = make(), make(classes)
    before = model.get_parameter("head.weight").clone()
    fit = adapt_from(model, given, keep_head=keep)
    assert fit.new == ["head.weight", "head.bias"]
    assert torch.equal(model.get_parameter("head.weight"), before)
    assert str(fit).endswith("2 new (head.weight, head.bias)")


def test_what_is_not_used_is_told() -> None:
    given, model = make(**{"tower.registers": 2}), make()
    fit, _ = fit_weights(given, model)
    assert fit.unused == ["tower.registers"]
    assert fit.new == ["tower.position.prefix_places"]
    assert "1 unused (tower.registers)" in str(fit)
