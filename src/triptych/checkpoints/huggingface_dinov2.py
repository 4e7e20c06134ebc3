"""transformers' DINOv2, with registers or without (``models/dinov2``, ``models/dinov2_with_registers``)."""

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
    tokens,
    unread,
    width_of,
)
from triptych.checkpoints.huggingface_preprocess import complete
from triptych.checkpoints.remap import Rule, convolution, rename
from triptych.models.classifier import Classifier
from triptych.nn.block import Block
from triptych.nn.feedforward import SwiGLUFeedForward
from triptych.nn.pool import ClassMeanPool, ClassTokenPool
from triptych.towers.vision import VisionTower

PATCHES = "embeddings.patch_embeddings.projection"
DEFAULTS: dict[str, Any] = {
    "num_attention_heads": 12,
    "layer_norm_eps": 1e-6,
    "image_size": 224,
    "layerscale_value": 1.0,
}


def describe(config: Mapping[str, Any], state: Mapping[str, Tensor], preprocess: dict[str, Any]) -> Described:
    """A DINOv2, with or without a head. Raises UserError where it has a part that we have not."""
    kind = str(config["model_type"])
    config = {**DEFAULTS, **config}
    prefix = prefix_of(state, f"{PATCHES}.weight", kind)
    dim, channels, *patch_size = state[f"{prefix}{PATCHES}.weight"].shape
    tokens_of = state.get(f"{prefix}embeddings.register_tokens")
    with_registers = kind == "dinov2_with_registers"
    image_size = pair(config["image_size"])
    head = state.get("classifier.weight")
    layer = f"{prefix}encoder.layer.0"
    gated = f"{layer}.mlp.weights_in.weight" in state
    tower = {
        "_target_": "triptych.towers.vision.VisionTower",
        "image_size": image_size,
        "dim": dim,
        "depth": depth_of(state, f"{prefix}encoder.layer."),
        "patch": part("patch.PatchEmbedding", patch_size=patch_size, channels=channels),
        "mixer": part(
            "mixers.softmax.SoftmaxMixer",
            heads=int(config["num_attention_heads"]),
            qkv_bias=f"{layer}.attention.attention.query.bias" in state,
        ),
        "feedforward": part(
            "feedforward.SwiGLUFeedForward", hidden_dim=width_of(state, f"{layer}.mlp.weights_out.weight", 1, kind)
        )
        if gated
        else feedforward_of(config, "gelu", kind, hidden_dim=width_of(state, f"{layer}.mlp.fc1.weight", 0, kind)),
        "norm": part("norm.LayerNorm", eps=float(config["layer_norm_eps"])),
        "position": part("position.LearnedPosition", embed_prefix=not with_registers, antialias=with_registers),
        "pool": part("pool.ClassTokenPool" if head is None else "pool.ClassMeanPool"),
        "registers": 0 if tokens_of is None else tokens_of.shape[1],
        "layer_scale": float(config["layerscale_value"]),
    }
    model = {
        "_target_": "triptych.models.classifier.Classifier",
        "tower": tower,
        "num_classes": 0 if head is None else head.shape[0],
    }
    own = rules(prefix, (channels, patch_size[0], patch_size[1]), not with_registers, gated)
    return Described(
        model, [*own, rename(f"{prefix}layernorm.{{kind}}", "tower.stack.norm.{kind}")],
        complete(preprocess, image_size, channels), unread=unread(state, prefix),
    )  # fmt: skip


def fits(tower: VisionTower, block: Block) -> bool:
    """A tower with LayerScale and a class token."""
    return block.mixer_scale is not None and tower.class_token is not None


def express(model: Classifier, tower: VisionTower, block: Block) -> Expressed:
    """A DINOv2: bare with a `ClassTokenPool` and no head, a classifier with a `ClassMeanPool`.

    Raises UserError, naming the part, where it has none like it.
    """
    mixer, position, eps = plain_parts(tower, block)
    registers = 0 if tower.registers is None else len(tower.registers)
    placed = position.prefix_places is not None
    bare = isinstance(tower.pool, ClassTokenPool) and not model.num_classes
    if not bare and not isinstance(tower.pool, ClassMeanPool):
        no_form(f"{type(tower.pool).__name__} below a head, beside LayerScale (ClassMeanPool)")
    if registers and placed:
        no_form("registers with places of their own, beside LayerScale")
    linear_head(model)
    gated = isinstance(block.feedforward, SwiGLUFeedForward)
    kind, name = ("dinov2_with_registers", "Dinov2WithRegisters") if registers else ("dinov2", "Dinov2")
    assert block.mixer_scale is not None
    config = {
        "model_type": kind,
        "architectures": [f"{name}Model" if bare else f"{name}ForImageClassification"],
        **sizes(model, tower, mixer, eps),
        "hidden_act": "gelu" if gated else activation_of(block),
        "mlp_ratio": _ratio(block, tower.dim),
        "use_swiglu_ffn": gated,
        "layerscale_value": block.mixer_scale.initial,
        **({"num_register_tokens": registers} if registers else {"use_mask_token": False}),
    }
    prefix = "" if bare else f"{kind}."
    height, width = tower.patch.patch_size
    own = rules(prefix, (tower.channels, height, width), placed, gated)
    # With registers transformers always wants the mask of pre-training, which no output depends on.
    mask = {f"{prefix}embeddings.mask_token": torch.zeros(1, tower.dim)} if registers else {}
    return Expressed(config, [*own, final_norm(tower, f"{prefix}layernorm")], mask)


def rules(prefix: str, patch: tuple[int, int, int], placed: bool, gated: bool) -> list[Rule]:
    """transformers' names and ours, but for the final norm; ``placed`` as in `tokens`."""
    theirs, own = f"{prefix}encoder.layer.{{n}}", "tower.stack.blocks.{n}"
    attention = f"{theirs}.attention.attention"
    first, up, last = ("weights_in", "gate_up", "weights_out") if gated else ("fc1", "up", "fc2")
    return [
        *tokens(prefix, placed),
        Rule(
            (f"{prefix}embeddings.register_tokens",), ("tower.registers",), lambda t: [t[0][0]], lambda t: [t[0][None]]
        ),
        convolution(f"{prefix}{PATCHES}.weight", patch),
        rename(f"{prefix}{PATCHES}.bias", "tower.patch.projection.bias"),
        rename(f"{theirs}.norm1.{{kind}}", f"{own}.mixer_norm.{{kind}}"),
        in_one([f"{attention}.{part}.{{kind}}" for part in ("query", "key", "value")], f"{own}.mixer.qkv.{{kind}}"),
        rename(f"{theirs}.attention.output.dense.{{kind}}", f"{own}.mixer.out.{{kind}}"),
        rename(f"{theirs}.layer_scale1.lambda1", f"{own}.mixer_scale.gain"),
        rename(f"{theirs}.norm2.{{kind}}", f"{own}.feedforward_norm.{{kind}}"),
        rename(f"{theirs}.mlp.{first}.{{kind}}", f"{own}.feedforward.{up}.{{kind}}"),
        rename(f"{theirs}.mlp.{last}.{{kind}}", f"{own}.feedforward.down.{{kind}}"),
        rename(f"{theirs}.layer_scale2.lambda1", f"{own}.feedforward_scale.gain"),
        rename("classifier.{kind}", "head.{kind}"),
    ]


def _ratio(block: Block, dim: int) -> int:
    """transformers' mlp_ratio, a whole number from which it computes the inner width."""
    hidden: int = block.feedforward.down.in_features  # pyright: ignore[reportAttributeAccessIssue, reportAssignmentType]
    for ratio in range(1, 2 + 2 * hidden // dim):
        made = (
            (int(dim * ratio * 2 / 3) + 7) // 8 * 8 if isinstance(block.feedforward, SwiGLUFeedForward) else dim * ratio
        )
        if made == hidden:
            return ratio
    no_form(f"feed-forward {hidden} wide for tokens {dim} wide, beside LayerScale")
