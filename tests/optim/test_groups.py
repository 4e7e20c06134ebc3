"""Weight decay reaches weight matrices and nothing else, and each trainable parameter is in exactly one group."""

import pytest
import timm
import torch
from torch import nn

from triptych.errors import UserError
from triptych.optim.groups import check_groups, parameter_groups


class Model(nn.Module):
    """One of each kind of parameter."""

    no_weight_decay = frozenset({"prototypes"})

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 4, 2)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.registers = nn.Parameter(torch.zeros(2, 4))
        self.position = nn.Embedding(5, 4)
        self.query = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.gamma = nn.Parameter(torch.ones(4))
        self.logit_scale = nn.Parameter(torch.tensor(1.0))
        self.prototypes = nn.Parameter(torch.zeros(3, 4))
        self.token_embedding = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 2)


def grouped(model: nn.Module) -> dict[str, set[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {g["name"]: {names[id(p)] for p in g["params"]} for g in parameter_groups(model, 0.1)}


def test_only_weight_matrices_decay() -> None:
    groups = grouped(Model())
    assert groups["decay"] == {"patch.weight", "query.weight", "token_embedding.weight", "head.weight"}
    everything = {name for name, _ in Model().named_parameters()}
    assert groups["no_decay"] == everything - groups["decay"]


def test_decay_is_set_per_group() -> None:
    decays = {group["name"]: group["weight_decay"] for group in parameter_groups(Model(), 0.1)}
    assert decays == {"decay": 0.1, "no_decay": 0.0}


def test_frozen_parameters_are_in_no_group_and_an_empty_group_is_left_out() -> None:
    model = Model()
    model.requires_grad_(False)
    model.head.requires_grad_(True)
    assert grouped(model) == {"decay": {"head.weight"}, "no_decay": {"head.bias"}}
    model.head.bias.requires_grad_(False)
    assert grouped(model) == {"decay": {"head.weight"}}


def test_a_shared_parameter_is_in_one_group_and_spared_if_any_name_says_so() -> None:
    model = Model()
    model.head.weight = model.prototypes
    groups = grouped(model)
    assert "prototypes" in groups["no_decay"]
    assert not any(name == "head.weight" for names in groups.values() for name in names)


def test_nothing_trainable_is_refused() -> None:
    model = Model().requires_grad_(False)
    with pytest.raises(UserError, match="Model has no trainable parameter"):
        parameter_groups(model, 0.1)


def test_a_declared_name_that_does_not_exist_is_refused() -> None:
    model = Model()
    model.no_weight_decay = frozenset({"prototype"})
    with pytest.raises(UserError, match="Model declares 'prototype' in no_weight_decay"):
        parameter_groups(model, 0.1)


def test_a_parameter_in_two_groups_or_none_is_noticed() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(AssertionError, match="two optimizer groups"):
        check_groups(model, [{"params": [model.weight, model.bias, model.weight]}])
    with pytest.raises(AssertionError, match="differ"):
        check_groups(model, [{"params": [model.weight]}])


def test_a_model_of_timm_says_by_a_method_what_is_not_decayed() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1)
    (decay, rest) = parameter_groups(model, 0.1)
    named = dict(model.named_parameters())
    for name, group in (("pos_embed", rest), ("cls_token", rest), ("head.weight", decay)):
        assert any(parameter is named[name] for parameter in group["params"])
