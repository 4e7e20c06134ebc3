"""open_clip's names of weights (and OpenAI's, which are the same), and ours."""

import torch

from triptych.checkpoints.pair import IMAGE, TEXT, number
from triptych.checkpoints.remap import Rule, convolution, moved, rename, reshape, transpose


def rules(
    vision: list[Rule], text: str, text_bias: bool, norm_after: bool, scale_shape: tuple[int, ...] = ()
) -> list[Rule]:
    """``vision``: the rules of the image tower; ``text``: what stands before the names of the text tower;
    ``text_bias``: its projection is a map with a bias, not a bare matrix; ``norm_after``: the norm comes after the
    pool.
    """
    projection = (
        rename(f"{text}text_projection.{{kind}}", "projections.text.{kind}")
        if text_bias
        else transpose(f"{text}text_projection", "projections.text.weight")
    )
    return [
        *vision,
        rename(f"{text}token_embedding.weight", f"{TEXT}token_embedding.weight"),
        rename(f"{text}positional_embedding", f"{TEXT}position.places"),
        rename(f"{text}ln_final.{{kind}}", f"{TEXT}{'pool' if norm_after else 'stack'}.norm.{{kind}}"),
        *blocks(f"{text}transformer.resblocks.{{n}}", f"{TEXT}stack.blocks.{{n}}"),
        projection,
        number("logit_scale", scale_shape),
        number("logit_bias", scale_shape),
    ]


def vision_rules(patch: tuple[int, int, int], norm_after: bool) -> list[Rule]:
    """CLIP's own image tower."""
    return [
        *moved([convolution("conv1.weight", patch)], "visual.", IMAGE),
        reshape("visual.class_embedding", f"{IMAGE}class_token", (-1,), (1, -1)),
        Rule(
            ("visual.positional_embedding",), (f"{IMAGE}position.prefix_places", f"{IMAGE}position.places"),
            lambda t: [t[0][:1], t[0][1:]], lambda t: [torch.cat(list(t))],
        ),
        rename("visual.ln_pre.{kind}", f"{IMAGE}input_norm.{{kind}}"),
        rename("visual.ln_post.{kind}", f"{IMAGE}{'pool' if norm_after else 'stack'}.norm.{{kind}}"),
        *blocks("visual.transformer.resblocks.{n}", f"{IMAGE}stack.blocks.{{n}}"),
        transpose("visual.proj", "projections.image.weight"),
    ]  # fmt: skip


def trunk_rules(trunk: list[Rule], projection: str) -> list[Rule]:
    """An image tower of timm, by the rules of that tower's classifier; ``projection`` is the name of what follows it:
    a map of its own, or the head of timm's model.
    """
    own = [rule for rule in trunk if rule.foreign != ("head.{kind}",)]
    return [*moved(own, "visual.trunk.", IMAGE), rename(f"{projection}.{{kind}}", "projections.image.{kind}")]


def blocks(theirs: str, own: str) -> list[Rule]:
    """The blocks of either tower."""
    return [
        rename(f"{theirs}.ln_1.{{kind}}", f"{own}.mixer_norm.{{kind}}"),
        rename(f"{theirs}.attn.in_proj_weight", f"{own}.mixer.qkv.weight"),
        rename(f"{theirs}.attn.in_proj_bias", f"{own}.mixer.qkv.bias"),
        rename(f"{theirs}.attn.out_proj.{{kind}}", f"{own}.mixer.out.{{kind}}"),
        rename(f"{theirs}.ls_1.gamma", f"{own}.mixer_scale.gain"),
        rename(f"{theirs}.ln_2.{{kind}}", f"{own}.feedforward_norm.{{kind}}"),
        rename(f"{theirs}.mlp.c_fc.{{kind}}", f"{own}.feedforward.up.{{kind}}"),
        rename(f"{theirs}.mlp.c_proj.{{kind}}", f"{own}.feedforward.down.{{kind}}"),
        rename(f"{theirs}.ls_2.gamma", f"{own}.feedforward_scale.gain"),
    ]
