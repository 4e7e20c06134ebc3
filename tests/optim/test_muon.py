"""Muon: torch's own is the oracle; fused weights are several matrices; two optimizers behave as one."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from triptych.errors import UserError
from triptych.optim.adamw import adamw
from triptych.optim.muon import BatchedMuon, MuonAdamW, matrices_of, muon
from triptych.optim.schedule import cosine


def names(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, set[str]]:
    by_id = {id(parameter): name for name, parameter in model.named_parameters()}
    return {g["name"]: {by_id[id(p)] for p in g["params"]} for g in optimizer.param_groups}


def backward(model: nn.Module, step: int) -> None:
    model.zero_grad()
    model(torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(step))).square().mean().backward()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range, schedule: Any = None) -> None:
    for step in steps:
        backward(model, step)
        optimizer.step()
        if schedule:
            schedule.step()


def test_muon_takes_the_linear_maps_and_adamw_the_rest(tiny: nn.Module) -> None:
    groups = names(tiny, muon(tiny))
    inside = {"mixer.qkv.weight", "mixer.out.weight", "feedforward.gate_up.weight", "feedforward.down.weight"}
    blocks = {f"blocks.{block}.{name}" for block in range(2) for name in inside}
    assert groups["muon"] == blocks | {"embedding.weight", "head.weight"}
    assert {"position", "head.bias", "blocks.0.mixer_norm.weight"} <= groups["no_decay"]
    assert sum(map(len, groups.values())) == len(list(tiny.parameters()))


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("shape", [(8, 8), (12, 5), (5, 12)])
def test_one_matrix_moves_as_with_torch(shape: tuple[int, int], nesterov: bool) -> None:
    start = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    settings: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "nesterov": nesterov}
    group = {"params": [ours], "weight_decay": 0.1}
    mine = BatchedMuon([group], {ours: [shape[0]]}, ns_steps=5, **settings)
    torchs = torch.optim.Muon([theirs], weight_decay=0.1, adjust_lr_fn="match_rms_adamw", **settings)
    for step in range(3):
        gradient = torch.randn(shape, generator=torch.Generator().manual_seed(step + 1))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        torchs.step()
    # Both leave singular values anywhere from 0.7 to 1.3, and not at the same place.
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.35 * moved
    assert torch.nn.functional.cosine_similarity((ours - start).flatten(), (theirs - start).flatten(), 0) > 0.95
    assert torch.equal(mine.state[ours]["momentum_buffer"], torchs.state[theirs]["momentum_buffer"])


def test_each_map_in_a_fused_weight_is_orthogonalised_by_itself(tiny: nn.Module) -> None:
    weights = {weight: rows for weight, rows in matrices_of(tiny).items() if len(rows) == 3}
    assert len(weights) == 2
    weight, rows = next(iter(weights.items()))
    start = weight.detach().clone()
    optimizer = muon(tiny, lr=0.01, weight_decay=0.0)
    backward(tiny, 0)
    assert weight.grad is not None
    weight.grad[rows[0] :] *= 1e-4  # the query's gradient rules
    optimizer.step()
    scale = 0.01 * 0.2 * 16**0.5
    for part in (start - weight.detach()).split(rows):
        # Gradients of a batch of 4 have few directions; the strongest of each map moves by about 1 all the same.
        assert 0.6 < torch.linalg.svdvals(part)[0] / scale < 1.3


def test_state_round_trips_and_groups_are_live(tiny: nn.Module) -> None:
    other = copy.deepcopy(tiny)
    whole = muon(tiny, lr=0.02)
    train(tiny, whole, range(6), cosine(whole, 6, warmup=2.0))

    first = muon(other, lr=0.02)
    schedule = cosine(first, 6, warmup=2.0)
    train(other, first, range(3), schedule)
    saved = copy.deepcopy((other.state_dict(), first.state_dict(), schedule.state_dict()))
    again = copy.deepcopy(other)
    second = muon(again, lr=0.02)
    schedule = cosine(second, 6, warmup=2.0)
    again.load_state_dict(saved[0])
    second.load_state_dict(saved[1])
    schedule.load_state_dict(saved[2])
    train(again, second, range(3, 6), schedule)
    for left, right in zip(tiny.parameters(), again.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_group_rate_of_zero_stops_that_group_alone(tiny: nn.Module) -> None:
    optimizer = muon(tiny, lr=0.02)
    optimizer.param_groups[0]["lr"] = 0.0
    before = {name: parameter.detach().clone() for name, parameter in tiny.named_parameters()}
    train(tiny, optimizer, range(1))
    moved = {name for name, parameter in tiny.named_parameters() if not torch.equal(parameter, before[name])}
    groups = names(tiny, optimizer)
    assert not moved & groups["muon"]
    assert {"embedding.bias", "head.bias"} <= moved


def test_the_adamw_part_may_have_its_own_rate(tiny: nn.Module) -> None:
    rates = {group["name"]: group["lr"] for group in muon(tiny, lr=0.02, adamw_lr=0.001).param_groups}
    assert rates == {"muon": 0.02, "no_decay": 0.001}


def test_the_closure_runs_once(tiny: nn.Module) -> None:
    calls: list[int] = []
    muon(tiny).step(lambda: calls.append(1) or 7.0)
    assert calls == [1]


def test_muon_and_adamw_learn(tiny: nn.Module) -> None:
    def loss(model: nn.Module) -> Tensor:
        return model(torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))).square().mean()

    for factory in (muon, adamw):
        model = copy.deepcopy(tiny)
        optimizer = factory(model, lr=0.01)
        start = loss(model).item()
        train(model, optimizer, range(30))
        assert loss(model).item() < 0.2 * start


def test_a_group_that_would_never_move_is_refused(tiny: nn.Module) -> None:
    with pytest.raises(TypeError, match="takes no further parameter groups"):
        muon(tiny).add_param_group({"params": [nn.Parameter(torch.zeros(2))]})


def test_frozen_matrices_are_left_out(tiny: nn.Module) -> None:
    hidden = next(iter(matrices_of(tiny)))
    hidden.requires_grad_(False)
    optimizer = muon(tiny)
    assert isinstance(optimizer, MuonAdamW)
    assert not any(parameter is hidden for group in optimizer.param_groups for parameter in group["params"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"ns_steps": 0}, "ns_steps is 0"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"adamw_lr": 0.0}, "adamw_lr is 0.0.*null takes optimizer.lr"),
    ],
)
def test_settings_out_of_range_are_refused(tiny: nn.Module, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        muon(tiny, **settings)


def test_kernels_go_to_adamw() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Linear(4, 2))
    groups = names(model, muon(model))
    assert (groups["muon"], groups["decay"]) == ({"1.weight"}, {"0.weight"})


def test_a_model_without_linear_maps_is_refused() -> None:
    with pytest.raises(UserError, match="LayerNorm has no trainable linear map; take adamw"):
        muon(nn.LayerNorm(2))
