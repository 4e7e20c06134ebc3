"""Adapters start as nothing, train little, and merge into the weights they stand at."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import triptych
from triptych.nn.linear import FusedLinear, Linear
from triptych.nn.lora import LowRankLinear, add_adapters, fold_adapters

ALL = ("qkv", "out", "up", "down")


def small(**overrides: object) -> nn.Module:
    parts = {"tower.depth": 2, "tower.dim": 48, "tower.image_size": 32, **overrides}
    model = triptych.create("vit_tiny_patch16_224", 5, overrides=parts)
    nn.init.normal_(model.get_parameter("head.weight"), std=0.1)
    return model


def trained(model: nn.Module) -> nn.Module:
    """As after some steps: the adapters change something."""
    for module in model.modules():
        if isinstance(module, LowRankLinear):
            nn.init.normal_(module.up, std=0.02)
    return model


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(2, 9), min_size=1, max_size=3), st.integers(2, 9), st.booleans(), st.integers(0, 999))
def test_one_map_changes_by_up_times_down_of_each_split(splits: list[int], inputs: int, bias: bool, seed: int) -> None:
    torch.manual_seed(seed)
    base = FusedLinear(inputs, splits, bias) if len(splits) > 1 else Linear(inputs, splits[0], bias)
    before = base.weight.clone()
    adapter = LowRankLinear(base, rank=1, alpha=3.0)
    x = torch.randn(4, 2, inputs)
    torch.testing.assert_close(adapter(x), base(x))
    nn.init.normal_(adapter.up)
    change = [3.0 * up @ adapter.down[i : i + 1] for i, up in enumerate(adapter.up.split(splits))]
    expected = torch.nn.functional.linear(x, before + torch.cat(change), base.bias)
    torch.testing.assert_close(adapter(x), expected, atol=1e-5, rtol=1e-5)
    adapter.merge()
    torch.testing.assert_close(adapter(x), expected, atol=1e-5, rtol=1e-5)
    adapter.unmerge()
    assert torch.equal(adapter.weight, before)


@pytest.mark.parametrize("targets", [("qkv",), ("qkv", "out"), ALL])
def test_a_model_with_fresh_adapters_says_what_it_said_and_merged_what_it_learned(targets: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    model = small().eval()
    images = torch.randn(3, 3, 32, 32)
    plain = model(images)
    paths = add_adapters(model, rank=2, targets=targets)
    assert len(paths) == 2 * len(targets)
    torch.testing.assert_close(model(images), plain, atol=1e-6, rtol=0)
    adapted = trained(model)(images)
    assert (adapted - plain).abs().max() > 1e-3
    folded = fold_adapters(copy.deepcopy(model))
    assert folded.state_dict().keys() == small().state_dict().keys()
    assert not any(isinstance(module, LowRankLinear) for module in folded.modules())
    torch.testing.assert_close(folded(images), adapted, atol=1e-6, rtol=0)


def test_only_adapters_and_head_train() -> None:
    model = small()
    frozen = {name: parameter.clone() for name, parameter in model.named_parameters() if not name.startswith("head.")}
    add_adapters(model, rank=2)
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.rpartition(".")[2] for name in names if not name.startswith("head.")} == {"down", "up"}
    assert {"head.weight", "head.bias"} < names
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        model(torch.randn(2, 3, 32, 32)).square().sum().backward()
        assert all((parameter.grad is not None) == (name in names) for name, parameter in model.named_parameters())
        optimizer.step()
    assert all(torch.equal(model.get_parameter(name), value) for name, value in frozen.items())


def test_adapters_are_a_small_part_of_a_vit_s() -> None:
    with torch.device("meta"):
        model = triptych.create("vit_small_patch16_224", 100)
    add_adapters(model, rank=8)
    counts = [parameter.numel() * parameter.requires_grad for parameter in model.parameters()]
    assert sum(counts) < 0.03 * sum(parameter.numel() for parameter in model.parameters())


def test_dropout_acts_on_the_adapter_alone() -> None:
    adapter = LowRankLinear(Linear(8, 8), rank=2, alpha=1.0, dropout=0.5)
    x = torch.randn(5, 8)
    assert torch.equal(adapter.train()(x), adapter.eval()(x))
    nn.init.normal_(adapter.up)
    assert not torch.equal(adapter.train()(x), adapter.eval()(x))


@pytest.mark.parametrize("rank", [0, 48, 100])
def test_a_rank_that_saves_nothing_is_refused(rank: int) -> None:
    with pytest.raises(ValueError, match=f"rank is {rank}; .* below 48"):
        add_adapters(small(), rank=rank)


def test_a_target_that_is_not_there_is_refused_and_nothing_changes() -> None:
    model = small()
    with pytest.raises(
        ValueError, match="no linear map is called 'query'; adapters can stand at down, out, projection"
    ):
        add_adapters(model, targets=["qkv", "query"])
    assert all(parameter.requires_grad for parameter in model.parameters())
