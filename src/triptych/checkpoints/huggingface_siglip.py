"""transformers' vision tower of SigLIP (``models/siglip``)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from triptych.checkpoints.foreign import Described, part
from triptych.checkpoints.huggingface_common import (
    Expressed,
    activation_of,
    depth_of,
    feedforward_of,
    final_norm,
    in_one,
    linear_head,
    no_form,
    pair,
    plain_parts,
    prefix_of,
    sizes,
    unread,
    width_of,
)
from triptych.checkpoints.huggingface_preprocess import complete
from triptych.checkpoints.remap import Rule, convolution, rename
from triptych.errors import UserError
from triptych.models.classifier import Classifier
from triptych.nn.block import Block
from triptych.nn.pool import AttentionPool, MeanPool
from triptych.towers.vision import VisionTower

PATCHES = "embeddings.patch_embedding"
DEFAULTS: dict[str, Any] = {"num_attention_heads": 12, "layer_norm_eps": 1e-6, "image_size": 224}


def describe(config: Mapping[str, Any], state: Mapping[str, Tensor], preprocess: dict[str, Any]) -> Described:
    """The vision tower: bare, pooled by attention, or a classifier, which takes the mean.

    Raises UserError where there is a text tower beside it, or it has a part that we have not.
    """
    kind = str(config["model_type"])
    if any(name.startswith("text_model.") for name in state):
        raise UserError(
            "This SigLIP model holds a text tower as well, which a classifier has no place for; save the vision model "
            "alone (SiglipVisionModel.from_pretrained(...).save_pretrained(...))."
        )
    config = {**DEFAULTS, **(config.get("vision_config") or config)}
    prefix = prefix_of(state, f"{PATCHES}.weight", kind)
    dim, channels, *patch_size = state[f"{prefix}{PATCHES}.weight"].shape
    image_size = pair(config["image_size"])
    head = state.get("classifier.weight")
    feedforward = feedforward_of(
        config,
        "gelu_pytorch_tanh",
        kind,
        hidden_dim=width_of(state, f"{prefix}encoder.layers.0.mlp.fc1.weight", 0, kind),
    )
    pooled, heads = f"{prefix}head.probe" in state, int(config["num_attention_heads"])
    tower = {
        "_target_": "triptych.towers.vision.VisionTower",
        "image_size": image_size,
        "dim": dim,
        "depth": depth_of(state, f"{prefix}encoder.layers."),
        "patch": part("patch.PatchEmbedding", patch_size=patch_size, channels=channels),
        "mixer": part("mixers.softmax.SoftmaxMixer", heads=heads),
        "feedforward": feedforward,
        "norm": part("norm.LayerNorm", eps=float(config["layer_norm_eps"])),
        "position": part("position.LearnedPosition", antialias=False),
        "pool": part("pool.AttentionPool", heads=heads, feedforward=feedforward)
        if pooled and head is None
        else part("pool.MeanPool", norm_after=False),
    }
    model = {
        "_target_": "triptych.models.classifier.Classifier",
        "tower": tower,
        "num_classes": 0 if head is None else head.shape[0],
    }
    own = rules(prefix, (channels, patch_size[0], patch_size[1]))
    # A classifier takes the mean, and leaves the attention pool that it may have alone.
    unused = [] if head is None else [name for name in state if name.startswith(f"{prefix}head.")]
    return Described(
        model, [*own, rename(f"{prefix}post_layernorm.{{kind}}", "tower.stack.norm.{kind}")],
        complete(preprocess, image_size, channels), unread=(*unread(state, prefix), *unused),
    )  # fmt: skip


def fits(tower: VisionTower, block: Block) -> bool:
    """A tower without prefix tokens."""
    return tower.prefix == 0 and block.mixer_scale is None


def express(model: Classifier, tower: VisionTower, block: Block) -> Expressed:
    """The vision tower of SigLIP, bare, or a classifier.

    Raises UserError, naming the part, where it has none like it.
    """
    mixer, _, eps = plain_parts(tower, block)
    pool, bare = tower.pool, not model.num_classes
    linear_head(model)
    if pool.norm_after or not isinstance(pool, AttentionPool if bare else MeanPool):
        no_form(f"{type(pool).__name__} {'without' if bare else 'below'} a head, beside no class token")
    if mixer.qkv.bias is None:
        no_form("attention without biases, beside no class token")
    (height, width), (patch_height, patch_width) = tower.image_size, tower.patch.patch_size
    if height != width or patch_height != patch_width:
        no_form("images or patches that are not square, beside no class token")
    activation, hidden = activation_of(block), block.feedforward.down.in_features  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(pool, AttentionPool):
        made = pool.feedforward
        if pool.heads != mixer.heads or type(made) is not type(block.feedforward) or made.down.in_features != hidden:  # pyright: ignore[reportAttributeAccessIssue]
            no_form("attention pool whose heads or feed-forward differ from the blocks'")
    vision = {
        "model_type": "siglip_vision_model",
        **{key: value for key, value in sizes(model, tower, mixer, eps).items() if key != "qkv_bias"},
        "hidden_act": activation,
        "intermediate_size": hidden,
        "vision_use_head": isinstance(pool, AttentionPool),
    }
    config = (
        {**vision, "architectures": ["SiglipVisionModel"]}
        if bare
        else {"model_type": "siglip", "architectures": ["SiglipForImageClassification"], "vision_config": vision}
    )
    prefix = "" if bare else "vision_model."
    own = rules(prefix, (tower.channels, patch_height, patch_width))
    return Expressed(config, [*own, final_norm(tower, f"{prefix}post_layernorm")])


def rules(prefix: str, patch: tuple[int, int, int]) -> list[Rule]:
    """transformers' names and ours, but for the final norm."""
    theirs, own = f"{prefix}encoder.layers.{{n}}", "tower.stack.blocks.{n}"
    pool, ours = f"{prefix}head", "tower.pool"
    return [
        rename(f"{prefix}embeddings.position_embedding.weight", "tower.position.places"),
        convolution(f"{prefix}{PATCHES}.weight", patch),
        rename(f"{prefix}{PATCHES}.bias", "tower.patch.projection.bias"),
        rename(f"{theirs}.layer_norm1.{{kind}}", f"{own}.mixer_norm.{{kind}}"),
        in_one([f"{theirs}.self_attn.{part}_proj.{{kind}}" for part in "qkv"], f"{own}.mixer.qkv.{{kind}}"),
        rename(f"{theirs}.self_attn.out_proj.{{kind}}", f"{own}.mixer.out.{{kind}}"),
        rename(f"{theirs}.layer_norm2.{{kind}}", f"{own}.feedforward_norm.{{kind}}"),
        rename(f"{theirs}.mlp.fc1.{{kind}}", f"{own}.feedforward.up.{{kind}}"),
        rename(f"{theirs}.mlp.fc2.{{kind}}", f"{own}.feedforward.down.{{kind}}"),
        Rule((f"{pool}.probe",), (f"{ours}.latent",), lambda t: [t[0][0]], lambda t: [t[0][None]]),
        *(
            _query_key_value(f"{pool}.attention.in_proj_{kind}", f"{ours}.query.{kind}", f"{ours}.key_value.{kind}")
            for kind in ("weight", "bias")
        ),
        rename(f"{pool}.attention.out_proj.{{kind}}", f"{ours}.out.{{kind}}"),
        rename(f"{pool}.layernorm.{{kind}}", f"{ours}.feedforward_norm.{{kind}}"),
        rename(f"{pool}.mlp.fc1.{{kind}}", f"{ours}.feedforward.up.{{kind}}"),
        rename(f"{pool}.mlp.fc2.{{kind}}", f"{ours}.feedforward.down.{{kind}}"),
        rename("classifier.{kind}", "head.{kind}"),
    ]


def _query_key_value(foreign: str, query: str, key_value: str) -> Rule:
    """One tensor of three equal parts, of which ours are the first, and the other two."""
    return Rule(
        (foreign,), (query, key_value),
        lambda t: [t[0][: len(t[0]) // 3], t[0][len(t[0]) // 3 :]], lambda t: [torch.cat(list(t))],
    )  # fmt: skip
