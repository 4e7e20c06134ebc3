"""Weights from one naming to another: rules that read both ways, each key used exactly once.

A rule ties one or more foreign names to one or more own names. Names are templates: ``blocks.{n}.attn.qkv.weight``
stands for every ``n`` (one piece of a dotted name). Read forwards the rules import a foreign state dict, read backwards
they export.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from triptych.errors import UserError

Tensors = Sequence[Tensor]
SHOWN = 4


def same(tensors: Tensors) -> Tensors:
    """No change."""
    return tensors


@dataclass(frozen=True)
class Rule:
    """Foreign names, own names, and how the tensors of one side become those of the other."""

    foreign: tuple[str, ...]
    own: tuple[str, ...]
    to_own: Callable[[Tensors], Tensors] = same
    to_foreign: Callable[[Tensors], Tensors] = same


def rename(foreign: str, own: str) -> Rule:
    """The same tensor by another name."""
    return Rule((foreign,), (own,))


def reshape(foreign: str, own: str, foreign_shape: Sequence[int], own_shape: Sequence[int]) -> Rule:
    """The same numbers in another shape; one size of each shape may be -1."""
    return Rule(
        (foreign,), (own,),
        lambda tensors: [tensors[0].reshape(tuple(own_shape))],
        lambda tensors: [tensors[0].reshape(tuple(foreign_shape))],
    )  # fmt: skip


def join(foreign: Sequence[str], own: str) -> Rule:
    """Several foreign tensors of equal size, stacked along the first axis into one own tensor."""
    return Rule(
        tuple(foreign), (own,),
        lambda tensors: [torch.cat(list(tensors))],
        lambda tensors: tensors[0].chunk(len(foreign)),
    )  # fmt: skip


def convolution(foreign: str, patch: tuple[int, int, int]) -> Rule:
    """A convolution's weight, and the matrix that our patch embedding has for it; ``patch`` is (channels, height,
    width).
    """
    return Rule(
        (foreign,), ("tower.patch.projection.weight",),
        lambda tensors: [tensors[0].flatten(1)], lambda tensors: [tensors[0].unflatten(1, patch)],
    )  # fmt: skip


def transpose(foreign: str, own: str) -> Rule:
    """A matrix that is applied from the other side."""
    return Rule((foreign,), (own,), lambda t: [t[0].T.contiguous()], lambda t: [t[0].T.contiguous()])


def moved(rules: Iterable[Rule], foreign: str, own: str) -> list[Rule]:
    """Rules of a model with one tower, for that tower inside a larger model: foreign names get the prefix ``foreign``,
    and ``tower.`` in ours becomes ``own``.
    """
    return [
        replace(
            rule,
            foreign=tuple(f"{foreign}{name}" for name in rule.foreign),
            own=tuple(re.sub("^tower\\.", own, name) for name in rule.own),
        )
        for rule in rules
    ]


def import_state(rules: Iterable[Rule], foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A foreign state dict under our own names.

    Raises UserError, naming the key, where a foreign key has no rule or more than one, or lacks the others that its
    rule wants.
    """
    return _apply(rules, foreign, "import")


def export_state(rules: Iterable[Rule], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our own state dict under foreign names: the inverse of `import_state`, as strict."""
    return _apply(rules, own, "export")


def check_keys(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> None:
    """Raises UserError unless ``state`` has exactly the keys and shapes of ``expected``, naming those that differ."""
    missing = sorted(expected.keys() - state.keys())
    unexpected = sorted(state.keys() - expected.keys())
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in sorted(expected.keys() & state.keys())
        if state[key].shape != expected[key].shape
    ]
    faults = [("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)]
    if told := [f"{what}: {_some(keys)}" for what, keys in faults if keys]:
        raise UserError(f"The weights of {source} do not fit the model that its config describes; {'; '.join(told)}.")


def _apply(
    rules: Iterable[Rule], state: Mapping[str, Tensor], direction: Literal["import", "export"]
) -> dict[str, Tensor]:
    result: dict[str, Tensor] = {}
    used: dict[str, Rule] = {}
    for rule in rules:
        sources, targets, transform = (
            (rule.foreign, rule.own, rule.to_own)
            if direction == "import"
            else (rule.own, rule.foreign, rule.to_foreign)
        )
        for names in _bindings(sources[0], state):
            keys = [source.format(**names) for source in sources]
            for key in keys:
                if key not in state:
                    raise UserError(
                        f"The {direction} found the weight {keys[0]!r} but not {key!r}, which belongs to it."
                    )
                if key in used:
                    raise UserError(f"The {direction} would use the weight {key!r} twice: {used[key]} and {rule}.")
                used[key] = rule
            made = [target.format(**names) for target in targets]
            if twice := result.keys() & set(made):
                raise UserError(f"The {direction} would make the weight {min(twice)!r} twice.")
            result.update(zip(made, transform([state[key] for key in keys]), strict=True))
    if unused := [key for key in state if key not in used]:
        raise UserError(
            f"The {direction} knows no place for {len(unused)} weights: {_some(unused)}. "
            "The model has a part that is not supported."
        )
    return result


def _bindings(template: str, state: Mapping[str, Tensor]) -> list[dict[str, str]]:
    """What the placeholders of a template stand for in each key that it matches."""
    pieces = re.split(r"\{(\w+)\}", template)
    pattern = "".join(re.escape(piece) if i % 2 == 0 else f"(?P<{piece}>[^.]+)" for i, piece in enumerate(pieces))
    return [match.groupdict() for match in map(re.compile(pattern).fullmatch, state) if match]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
