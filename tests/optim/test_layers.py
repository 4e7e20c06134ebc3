"""Each layer learns at the rate that timm's formula gives it, under any scheduler, frozen layers or not."""

from pathlib import Path

import pytest
import timm
import torch
from timm.models import save_for_hf
from timm.optim._param_groups import param_groups_layer_decay
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler, OneCycleLR

import triptych
from triptych.errors import UserError
from triptych.optim.adamw import adamw
from triptych.optim.layers import distances
from triptych.optim.muon import muon
from triptych.optim.schedule import cosine, wsd

LR, STEPS = 3e-4, 12


def timm_scales(peer: nn.Module, decay: float) -> dict[int, float]:
    """timm's factor of each of its parameters, by id."""
    groups = param_groups_layer_decay(peer, layer_decay=decay)
    return {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}


def numbered(peer: nn.Module, folder: Path) -> tuple[nn.Module, list[nn.Parameter]]:
    """Our form of a timm model, and timm's parameter behind each of ours: each holds its own number while it moves."""
    parameters = list(peer.parameters())
    with torch.no_grad():
        for number, parameter in enumerate(parameters):
            parameter.fill_(float(number))
    save_for_hf(peer, str(folder), safe_serialization=True)
    own = triptych.load(folder)
    return own, [parameters[int(parameter.flatten()[0])] for parameter in own.parameters()]


def small(depth: int, **parts: object) -> nn.Module:
    return triptych.create("vit_tiny_patch16_224", 3, overrides={"tower.depth": depth, **parts})


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("factory", [adamw, muon])
@pytest.mark.parametrize("scheduler", ["cosine", "wsd", "exponential"])
def test_every_rate_is_timms_at_every_step(tmp_path: Path, scheduler: str, factory, frozen: bool) -> None:
    peer = timm.create_model("vit_tiny_patch16_224", embed_dim=24, depth=3, num_heads=2, img_size=32, num_classes=3)
    scales = timm_scales(peer, 0.7)
    own, theirs = numbered(peer, tmp_path / "peer")
    if frozen:
        own.get_submodule("tower.stack.blocks.1").requires_grad_(False)
    optimizer = factory(own, lr=LR, layer_decay=0.7)
    schedules = {
        "cosine": lambda: cosine(optimizer, STEPS, warmup=3.0),
        "wsd": lambda: wsd(optimizer, STEPS, warmup=2.0),
        "exponential": lambda: ExponentialLR(optimizer, 0.9),
    }
    schedule: LRScheduler = schedules[scheduler]()
    # What one rate without layers does under the same scheduler.
    plain = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR)
    reference = {
        "cosine": lambda: cosine(plain, STEPS, warmup=3.0),
        "wsd": lambda: wsd(plain, STEPS, warmup=2.0),
        "exponential": lambda: ExponentialLR(plain, 0.9),
    }[scheduler]()
    trained = {id(parameter) for parameter in own.parameters() if parameter.requires_grad}
    for _ in range(STEPS):
        rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
        assert rates.keys() == trained
        for mine, its in zip(own.parameters(), theirs, strict=True):
            if mine.requires_grad:
                assert rates[id(mine)] == pytest.approx(scales[id(its)] * plain.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        plain.step()
        schedule.step()
        reference.step()


def test_one_cycle_takes_the_rates_as_its_peaks() -> None:
    own = small(depth=2)
    optimizer = adamw(own, lr=LR, layer_decay=0.5)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert len(set(rates)) == 4  # before the blocks, two blocks, the head
    OneCycleLR(optimizer, max_lr=rates, total_steps=STEPS)
    assert [group["max_lr"] for group in optimizer.param_groups] == rates


def test_a_pool_of_its_own_learns_like_the_head() -> None:
    model = small(depth=2, **{"tower/pool": "attention", "tower.pool.heads": 3})
    layer = distances(model)
    assert {layer[name] for name in layer if name.startswith(("tower.pool.", "head."))} == {0}
    assert layer["tower.patch.projection.weight"] == 3


@pytest.mark.parametrize("decay", [0.0, -1.0, 1.5])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(UserError, match=r"layer decay is .*above 0 and at most 1"):
        adamw(nn.Linear(2, 2), layer_decay=decay)


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(UserError, match="Linear has none"):
        adamw(nn.Linear(2, 2), layer_decay=0.5)


def test_each_contrastive_tower_has_its_own_layers() -> None:
    """Projections, scale and bias learn as a head does; the rates fall from the top of either tower."""
    sizes = {"towers.image.dim": 24, "towers.image.depth": 3, "towers.image.mixer.heads": 2, "towers.text.dim": 24,
             "towers.text.depth": 1, "towers.text.mixer.heads": 2, "towers.text.vocab_size": 9,
             "towers.text.context_length": 7, "towers.text.end_token": 3, "embedding_dim": 8,
             "logit_bias_init": -10, "tokenizer": None}  # fmt: skip
    model = triptych.create("clip_nano", overrides=sizes)
    optimizer = adamw(model, lr=1.0, layer_decay=0.5)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    wanted = {
        "logit_scale": 1, "logit_bias": 1, "projections.image.weight": 1, "projections.text.weight": 1,
        "towers.image.stack.blocks.2.": 0.5, "towers.image.stack.blocks.1.": 0.25,
        "towers.image.stack.blocks.0.": 0.125, "towers.image.patch.": 0.0625,
        "towers.text.stack.blocks.0.": 0.5, "towers.text.token_embedding.": 0.25,
    }  # fmt: skip
    for start, expected in wanted.items():
        found = {rate[id(p)] for name, p in model.named_parameters() if name.startswith(start)}
        assert found == {expected}, start
