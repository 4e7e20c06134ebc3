"""What a model draws in training comes from the generators whose states a checkpoint holds, and from no others."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import triptych
from triptych.checkpoints.rng import rng_state, set_rng_state
from triptych.nn.drop import PatchDropout, Patchout
from triptych.nn.lora import LowRankLinear, add_adapters

IMAGES = torch.randn(6, 3, 64, 64)
IDS = torch.randint(1, 40, (6, 12))
PATCHES = torch.randn(6, 24, 5)


def vision(**overrides: float) -> nn.Module:
    model = triptych.create("vit_nano_patch16_64", 5, overrides={"tower.depth": 2, **overrides})
    nn.init.normal_(model.get_parameter("head.weight"), std=0.1)
    return model.train()


def stochastic_depth() -> Callable[[], Tensor]:
    model = vision(**{"tower.stochastic_depth": 0.5})
    return lambda: model(IMAGES)


def patch_dropout() -> Callable[[], Tensor]:
    model = vision(**{"tower.patch_dropout": 0.5})
    return lambda: model(IMAGES)


def adapters() -> Callable[[], Tensor]:
    model = vision()
    add_adapters(model, rank=2, dropout=0.5)
    for module in model.modules():
        if isinstance(module, LowRankLinear):
            nn.init.normal_(module.up, std=0.1)
    return lambda: model(IMAGES)


def token_dropout() -> Callable[[], Tensor]:
    sizes = {"towers.text.vocab_size": 41, "towers.text.depth": 1, "towers.text.token_dropout": 0.5}
    tower = triptych.create("clip_nano", overrides=sizes).get_submodule("towers.text").train()
    return lambda: tower(IDS).pooled


def kept(dropout: PatchDropout) -> Callable[[], Tensor]:
    def draw() -> Tensor:
        chosen = dropout(PATCHES, (4, 6))
        assert chosen is not None
        return chosen

    return draw


NOISE: dict[str, Callable[[], Callable[[], Tensor]]] = {
    "stochastic depth": stochastic_depth,
    "patch dropout": patch_dropout,
    "dropout of adapters": adapters,
    "token dropout": token_dropout,
    "a share of patches": lambda: kept(PatchDropout(0.5)),
    "patchout": lambda: kept(Patchout(time=0.3, frequency=0.3, rate=0.3)),
}


@pytest.mark.parametrize("noise", NOISE)
def test_the_same_states_give_the_same_noise(noise: str) -> None:
    draw = NOISE[noise]()
    state = rng_state()
    first = draw()
    assert any(not torch.equal(draw(), first) for _ in range(4)), "nothing was drawn"
    set_rng_state(state)
    assert torch.equal(draw(), first)
    assert not torch.equal(rng_state()["torch"], state["torch"])
