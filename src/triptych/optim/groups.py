"""Which parameters decay: every trainable one lands in exactly one group, by rules that can be read here.

A weight matrix or kernel (two dimensions or more) decays. What does not: whatever has at most one dimension (biases,
norm gains, LayerScale gammas, logit scales), tables and tokens by their name (positions, class token, registers), and
what a module declares itself, in an attribute `no_weight_decay`: a set of the names of its parameters, relative to
the module.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from triptych.errors import UserError

# A word anywhere in the path of a parameter (cut at dots and underscores) that marks a table of positions.
POSITION_WORDS = frozenset(("position", "positions", "positional", "pos"))
# A word in the last part of the path that marks a token or a scale. A `weight` is never one: `query.weight` is a
# matrix.
TOKEN_WORDS = frozenset(
    ("token", "tokens", "register", "registers", "latent", "query", "probe", "scale", "gamma", "bias")
)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Optimizer groups named `decay` and `no_decay` of the trainable parameters of `model`; an empty one is left out.

    A parameter that is shared under several names is in one group, and does not decay if any of its names says so.
    Frozen parameters are in none. Raises UserError when nothing is trainable.
    """
    undecayed = undecayed_parameters(model)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {
            "name": "decay",
            "params": [parameter for parameter in trainable if id(parameter) not in undecayed],
            "weight_decay": weight_decay,
        },
        {
            "name": "no_decay",
            "params": [parameter for parameter in trainable if id(parameter) in undecayed],
            "weight_decay": 0.0,
        },
    ]
    groups = [group for group in groups if group["params"]]
    check_groups(model, groups)
    return groups


def undecayed_parameters(model: nn.Module) -> set[int]:
    """The `id` of each parameter of `model` that weight decay leaves alone."""
    declared = set(_declared(model))
    return {
        id(parameter)
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if parameter.ndim <= 1 or id(parameter) in declared or _is_table(name)
    }


def check_groups(model: nn.Module, groups: list[dict[str, Any]]) -> None:
    """Asserts that the groups hold each trainable parameter of `model` once and nothing else."""
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    if not trainable:
        raise UserError(
            f"{type(model).__name__} has no trainable parameter: every one is frozen; unfreeze at least the head"
        )
    assert len(grouped) == len(set(grouped)), "a parameter is in two optimizer groups"
    assert set(grouped) == trainable, "optimizer groups and trainable parameters differ"


def _is_table(path: str) -> bool:
    last = set(path.lower().rpartition(".")[2].split("_"))
    return bool(
        POSITION_WORDS.intersection(re.split(r"[._]", path.lower())) or ("weight" not in last and TOKEN_WORDS & last)
    )


def _declared(model: nn.Module) -> Iterator[int]:
    for path, module in model.named_modules():
        names: Any = getattr(module, "no_weight_decay", ())
        if not isinstance(names, Iterable):  # timm's models have a method, which names tokens that some of them lack
            present = dict(module.named_parameters())
            yield from (id(present[name]) for name in names() if name in present)
            continue
        for name in names:
            try:
                yield id(module.get_parameter(name))
            except AttributeError:
                owner = f"{type(module).__name__} at {path!r}" if path else type(module).__name__
                raise UserError(
                    f"{owner} declares {name!r} in no_weight_decay, but has no parameter of that name"
                ) from None
