"""What each strategy trains, and what it refuses."""

import re
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import triptych
from triptych.errors import UserError
from triptych.optim.adamw import adamw
from triptych.strategies import Freeze, Full, LayerDecay, LinearProbe, LowRank


def make(**parts: object) -> nn.Module:
    overrides = {"tower.depth": 3, "tower.dim": 24, "tower.image_size": 16, "tower.patch.patch_size": 8, **parts}
    return triptych.create("vit_tiny_patch16_224", 4, overrides=overrides)


def moved(strategy: Full, model: nn.Module) -> set[str]:
    """The weights that some training steps change."""
    torch.manual_seed(0)
    strategy.prepare(model)
    optimizer = strategy.optimizer(partial(adamw, lr=1e-2))(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for _ in range(3):
        optimizer.zero_grad()
        (model(torch.randn(3, 3, 16, 16)) * torch.randn(4)).sum().backward()
        optimizer.step()
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def test_full_and_layer_decay_train_all() -> None:
    for strategy in (Full(), LayerDecay(0.5)):
        model = make()
        assert moved(strategy, model) == set(model.state_dict())


def test_layer_decay_gives_each_layer_its_rate() -> None:
    optimizer = LayerDecay(0.5).optimizer(partial(adamw, lr=1.0))(make())
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [0.0625, 0.125, 0.25, 0.5, 1.0]


def test_low_rank_trains_adapters_and_head() -> None:
    names = moved(LowRank(rank=2), make())
    assert names
    assert all(re.search(r"^head\.|\.(down|up)$", name) for name in names)


def test_a_linear_probe_trains_the_head_and_the_tower_does_not_draw() -> None:
    model = make(**{"tower.stochastic_depth": 0.5}).train()
    assert moved(LinearProbe(), model) == {"head.weight", "head.bias"}
    assert not model.get_submodule("tower").training


@pytest.mark.parametrize("blocks", [0, 2, 3])
def test_freeze_leaves_the_first_blocks_as_they_are(blocks: int) -> None:
    model = make(**{"tower.stochastic_depth": 0.3})
    names = moved(Freeze(blocks), model)
    still = set(model.state_dict()) - names
    frozen = {name for name in model.state_dict() if not name.startswith(("tower.stack.", "tower.pool.", "head."))}
    assert still == frozen | {
        name for name in model.state_dict() if any(name.startswith(f"tower.stack.blocks.{n}.") for n in range(blocks))
    }


def test_freezing_more_blocks_than_there_are_is_refused() -> None:
    with pytest.raises(UserError, match=r"strategy\.blocks is 4, but the tower has 3 blocks"):
        Freeze(4).prepare(make())


def test_an_adapter_that_fits_nowhere_is_refused() -> None:
    with pytest.raises(UserError, match="strategy: rank is 24; it must be at least 1 and below 24"):
        LowRank(rank=24).prepare(make())
    with pytest.raises(UserError, match="no linear map is called 'q'"):
        LowRank(targets=["q"]).prepare(make())


def test_a_probe_takes_no_augmentation_no_mixing_and_no_other_objective() -> None:
    target = "triptych.objectives.classification.ClassificationObjective"
    settings: dict[str, Any] = {
        "data": {"augment": {"a": 1}, "evaluate": {"b": 2}}, "objective": {"_target_": target, "mix": None},
    }  # fmt: skip
    LinearProbe().adjust(settings)
    assert settings["data"]["augment"] == {"b": 2}
    assert settings["objective"]["_target_"].endswith("ProbeObjective")
    with pytest.raises(UserError, match=r"set objective\.mix=null"):
        LinearProbe().adjust({"objective": {"_target_": target, "mix": {}}, "data": {}})
    with pytest.raises(UserError, match="take objective=classification"):
        LinearProbe().adjust({"objective": {"_target_": "somewhere.Else"}, "data": {}})
