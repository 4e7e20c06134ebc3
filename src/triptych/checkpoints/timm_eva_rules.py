"""timm's names for the weights of the ViTs of its ``models/eva.py``, and ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from triptych.checkpoints.remap import Rule, Tensors, rename
from triptych.checkpoints.timm_rules import embedding, feedforward_up


@dataclass(frozen=True)
class Layout:
    """What the rules need to know of a model beside the names of its weights."""

    patch: tuple[int, int, int]
    """Channels, height, width of a patch."""
    heads: int
    feedforward: Literal["plain", "packed", "split"]
    """Whether gate and value of a gated feed-forward are one weight or two; plain where there is no gate."""
    fused: bool
    """Whether queries, keys and values come from one weight."""
    biased: str
    """Which of q, k, v have a bias."""
    shared_bias: bool
    """Whether those biases are one tensor."""
    halves: bool
    """Whether rotary positions turn the pairs (i, i + half a head) instead of neighbours."""


def eva_rules(layout: Layout, prefix: int, position: str) -> list[Rule]:
    """timm's names and ours; ``prefix`` and ``position`` as in `triptych.checkpoints.timm_rules.embedding`."""
    block, own = "blocks.{n}", "tower.stack.blocks.{n}"
    return [
        *embedding(prefix, layout.patch, position=position),
        rename(f"{block}.norm1.{{kind}}", f"{own}.mixer_norm.{{kind}}"),
        *_attention(layout),
        rename(f"{block}.attn.proj.{{kind}}", f"{own}.mixer.out.{{kind}}"),
        rename(f"{block}.gamma_1", f"{own}.mixer_scale.gain"),
        rename(f"{block}.norm2.{{kind}}", f"{own}.feedforward_norm.{{kind}}"),
        feedforward_up(layout.feedforward),
        rename(f"{block}.mlp.norm.{{kind}}", f"{own}.feedforward.inner_norm.{{kind}}"),
        rename(f"{block}.mlp.fc2.{{kind}}", f"{own}.feedforward.down.{{kind}}"),
        rename(f"{block}.gamma_2", f"{own}.feedforward_scale.gain"),
        rename("norm.{kind}", "tower.stack.norm.{kind}"),
        rename("fc_norm.{kind}", "tower.pool.norm.{kind}"),
        rename("head.{kind}", "head.{kind}"),
    ]


def _attention(layout: Layout) -> list[Rule]:
    foreign, own = "blocks.{n}.attn", "tower.stack.blocks.{n}.mixer.qkv"
    weights = [f"{foreign}.qkv.weight"] if layout.fused else [f"{foreign}.{letter}_proj.weight" for letter in "qkv"]
    rules = [_projection(weights, f"{own}.weight", "qkv", layout)]
    if layout.biased:
        biases = (
            [f"{foreign}.qkv.bias"]
            if layout.shared_bias
            else [
                f"{foreign}.{letter}_bias" if layout.fused else f"{foreign}.{letter}_proj.bias"
                for letter in layout.biased
            ]
        )
        rules.append(_projection(biases, f"{own}.bias", layout.biased, layout))
    return rules


def _projection(foreign: Sequence[str], own: str, letters: str, layout: Layout) -> Rule:
    """Parts of one projection (``letters`` of q, k, v), one after the other in one tensor or each its own."""

    def to_own(tensors: Tensors) -> Tensors:
        parts = torch.cat(list(tensors)).chunk(len(letters))
        return [
            torch.cat(
                [_neighbours(x, layout) if letter in "qk" else x for x, letter in zip(parts, letters, strict=True)]
            )
        ]

    def to_foreign(tensors: Tensors) -> Tensors:
        parts = [
            _halves(x, layout) if letter in "qk" else x
            for x, letter in zip(tensors[0].chunk(len(letters)), letters, strict=True)
        ]
        return [torch.cat(parts)] if len(foreign) == 1 else parts

    return Rule(tuple(foreign), (own,), to_own, to_foreign)


def _neighbours(x: Tensor, layout: Layout) -> Tensor:
    """Rows of queries or keys, head by head, so that each pair that is turned together lies side by side. A score is a
    sum over pairs, so their order does not matter to it.
    """
    return x.unflatten(0, (layout.heads, 2, -1)).transpose(1, 2).flatten(0, 2) if layout.halves else x


def _halves(x: Tensor, layout: Layout) -> Tensor:
    """The inverse of `_neighbours`."""
    return x.unflatten(0, (layout.heads, -1, 2)).transpose(1, 2).flatten(0, 2) if layout.halves else x
