"""timm's names for the weights of a plain ViT, and ours."""

from dataclasses import dataclass
from typing import Literal

import torch

from triptych.checkpoints.remap import Rule, convolution, join, rename, reshape


@dataclass(frozen=True)
class Shape:
    """What the rules need to know of a model beside the names of its weights."""

    prefix: int
    """Prefix tokens that have positions of their own, 0 where they have none."""
    patch: tuple[int, int, int]
    """Channels, height, width of a patch."""
    feedforward: Literal["plain", "packed", "split"]
    """Whether gate and value of a gated feed-forward are one weight or two; plain where there is no gate."""
    distilled: bool = False
    """Whether there are a distillation token, which is our first register, and a head for it."""


def rules(shape: Shape) -> list[Rule]:
    """timm's names and ours."""
    block, own = "blocks.{n}", "tower.stack.blocks.{n}"
    return [
        feedforward_up(shape.feedforward),
        *embedding(shape.prefix, shape.patch, "dist_token" if shape.distilled else "reg_token"),
        rename(f"{block}.norm1.{{kind}}", f"{own}.mixer_norm.{{kind}}"),
        rename(f"{block}.attn.qkv.{{kind}}", f"{own}.mixer.qkv.{{kind}}"),
        rename(f"{block}.attn.q_norm.{{kind}}", f"{own}.mixer.query_norm.{{kind}}"),
        rename(f"{block}.attn.k_norm.{{kind}}", f"{own}.mixer.key_norm.{{kind}}"),
        rename(f"{block}.attn.proj.{{kind}}", f"{own}.mixer.out.{{kind}}"),
        rename(f"{block}.ls1.gamma", f"{own}.mixer_scale.gain"),
        rename(f"{block}.norm2.{{kind}}", f"{own}.feedforward_norm.{{kind}}"),
        rename(f"{block}.mlp.fc2.{{kind}}", f"{own}.feedforward.down.{{kind}}"),
        rename(f"{block}.ls2.gamma", f"{own}.feedforward_scale.gain"),
        rename("norm.{kind}", "tower.stack.norm.{kind}"),
        rename("fc_norm.{kind}", "tower.pool.norm.{kind}"),
        reshape("attn_pool.latent", "tower.pool.latent", (1, 1, -1), (1, -1)),
        rename("attn_pool.q.{kind}", "tower.pool.query.{kind}"),
        rename("attn_pool.kv.{kind}", "tower.pool.key_value.{kind}"),
        rename("attn_pool.proj.{kind}", "tower.pool.out.{kind}"),
        rename("attn_pool.norm.{kind}", "tower.pool.feedforward_norm.{kind}"),
        rename("attn_pool.mlp.fc1.{kind}", "tower.pool.feedforward.up.{kind}"),
        rename("attn_pool.mlp.fc2.{kind}", "tower.pool.feedforward.down.{kind}"),
        rename("head.{kind}", "head.of_class.{kind}" if shape.distilled else "head.{kind}"),
        rename("head_dist.{kind}", "head.of_distillation.{kind}"),
    ]


def embedding(
    prefix: int, patch: tuple[int, int, int], registers: str = "reg_token", position: str = "tower.position"
) -> list[Rule]:
    """Tokens, positions and patches; ``registers`` is timm's name for them, ``position`` ours for the learned table,
    and for the rest see `Shape`.
    """
    if prefix:
        places = Rule(
            ("pos_embed",), (f"{position}.prefix_places", f"{position}.places"),
            lambda t: [t[0][0, :prefix], t[0][0, prefix:]], lambda t: [torch.cat(list(t))[None]],
        )  # fmt: skip
    else:
        places = Rule(("pos_embed",), (f"{position}.places",), lambda t: [t[0][0]], lambda t: [t[0][None]])
    return [
        reshape("cls_token", "tower.class_token", (1, 1, -1), (1, -1)),
        Rule((registers,), ("tower.registers",), lambda t: [t[0][0]], lambda t: [t[0][None]]),
        places,
        convolution("patch_embed.proj.weight", patch),
        rename("patch_embed.proj.bias", "tower.patch.projection.bias"),
    ]  # fmt: skip


def feedforward_up(form: Literal["plain", "packed", "split"]) -> Rule:
    """The first layer of the feed-forward, in the form that `Shape` names."""
    block, own = "blocks.{n}.mlp", "tower.stack.blocks.{n}.feedforward"
    return {
        "plain": rename(f"{block}.fc1.{{kind}}", f"{own}.up.{{kind}}"),
        "packed": rename(f"{block}.fc1.{{kind}}", f"{own}.gate_up.{{kind}}"),
        "split": join((f"{block}.fc1_g.{{kind}}", f"{block}.fc1_x.{{kind}}"), f"{own}.gate_up.{{kind}}"),
    }[form]
