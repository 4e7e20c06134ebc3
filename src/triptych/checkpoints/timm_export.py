"""The ``config.json`` with which timm builds a classifier of ours."""

import logging
from typing import Any, NoReturn

from torch import nn

from triptych.checkpoints.remap import Rule
from triptych.checkpoints.timm_rules import Shape, rules
from triptych.errors import UserError
from triptych.models.classifier import Classifier
from triptych.nn.block import Block
from triptych.nn.feedforward import GELUFeedForward, QuickGELUFeedForward, SwiGLUFeedForward
from triptych.nn.head import DistilledHead
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.pool import AttentionPool, ClassTokenPool, DistilledPool, MeanPool
from triptych.nn.position import LearnedPosition, NoPosition
from triptych.towers.vision import VisionTower

log = logging.getLogger("triptych.checkpoints")

# Architectures of timm whose defaults the arguments below all override; they differ in what no JSON argument can say.
PLAIN, GATED, DISTILLED = "vit_base_patch16_224", "vit_giant_patch14_dinov2", "deit_base_distilled_patch16_224"
EPS = 1e-6


def timm_config(model: Classifier) -> tuple[dict[str, Any], list[Rule]]:
    """What timm's hub writer would save for this model, and how its names become timm's.

    Raises UserError, naming the part, where timm's plain ViT has none like it.
    """
    tower, block = tower_and_block(model)
    prefix_places = tower.position.prefix_table()
    distilled = isinstance(tower.pool, DistilledPool)
    if distilled and (tower.prefix != 2 or not isinstance(model.head, DistilledHead | nn.Identity)):
        no_form("distillation token without a head of its own, or with more registers")
    arguments = {
        **sizes(model, tower),
        **_mixer(block),
        **_feedforward(block, tower.dim),
        **_norm(tower, block),
        **_pool(tower, block),
        "init_values": None if block.mixer_scale is None else block.mixer_scale.initial,
        "class_token": tower.class_token is not None,
        "no_embed_class": prefix_places is None and tower.prefix > 0,
        "reg_tokens": 0 if distilled else tower.prefix - int(tower.class_token is not None),
        "pos_embed": _position(tower),
        "pre_norm": False,
    }
    gated = isinstance(block.feedforward, SwiGLUFeedForward)
    if distilled and gated:
        no_form("distillation token beside a gated feed-forward")
    architecture = GATED if gated else DISTILLED if distilled else PLAIN
    config = hub_config(model, architecture, arguments, ["head", "head_dist"] if distilled else "head")
    config["model_args"].setdefault("init_values", None)  # timm's gated ViT has layer scale unless told otherwise
    height, width = tower.patch.patch_size
    prefix = 0 if prefix_places is None else tower.prefix
    shape = Shape(prefix, (tower.channels, height, width), "packed" if gated else "plain", distilled)
    return config, rules(shape)


def tower_and_block(model: Classifier) -> tuple[VisionTower, Block]:
    """The tower and its first block. Raises UserError where timm has no such patches or head."""
    tower = model.tower
    assert isinstance(tower, VisionTower)
    block = tower.stack.blocks[0]
    assert isinstance(block, Block)
    if tower.patch.stride != tower.patch.patch_size or tower.patch.projection.bias is None:
        no_form("patches that overlap, or have no bias")
    if not tower.patch.linear:
        no_form(type(tower.patch).__name__)
    if not isinstance(tower.input_norm, nn.Identity):
        no_form("norm before the first block")
    if not isinstance(model.head, nn.Linear | nn.Identity) and not isinstance(tower.pool, DistilledPool):
        no_form(f"{type(model.head).__name__} for this pool")
    return tower, block


def sizes(model: Classifier, tower: VisionTower) -> dict[str, Any]:
    """The arguments that every ViT of timm has."""
    return {
        "img_size": list(tower.image_size),
        "patch_size": list(tower.patch.patch_size),
        "in_chans": tower.channels,
        "num_classes": model.num_classes,
        "embed_dim": tower.dim,
        "depth": len(tower.stack.blocks),
    }


def hub_config(
    model: Classifier, architecture: str, arguments: dict[str, Any], classifier: str | list[str], **known: Any
) -> dict[str, Any]:
    """The ``config.json`` that timm's hub writer saves beside the weights."""
    preprocess = model.preprocess
    if preprocess.native is not None:
        log.warning(
            "the model was trained on images of their own sizes; its description for timm has one size, %d x %d px",
            *model.tower.image_size,
        )
    return {
        "architecture": architecture,
        "num_classes": model.num_classes,
        "num_features": model.tower.dim,
        "global_pool": arguments.get("global_pool"),
        "model_args": {key: value for key, value in arguments.items() if value is not None},
        "pretrained_cfg": {
            "input_size": [model.tower.channels, *model.tower.image_size],
            "fixed_input_size": True,
            "interpolation": preprocess.interpolation,
            "crop_pct": preprocess.crop,
            "crop_mode": preprocess.mode,
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "num_classes": model.num_classes,
            "first_conv": "patch_embed.proj",
            "classifier": classifier,
            **known,
        },
    }


def _mixer(block: Block) -> dict[str, Any]:
    mixer = block.mixer
    if not isinstance(mixer, SoftmaxMixer) or mixer.kv_heads != mixer.heads:
        no_form("a mixer other than softmax attention with as many key-value heads as heads")
    return {
        "num_heads": mixer.heads,
        "qkv_bias": all(mixer.qkv.biased),
        "proj_bias": mixer.out.bias is not None,
        "qk_norm": mixer.query_norm is not None,
    }


def _feedforward(block: Block, dim: int) -> dict[str, Any]:
    part, mixer = block.feedforward, block.mixer
    if isinstance(part, SwiGLUFeedForward):
        activation, width = "silu", part.gate_up.out_features
    elif isinstance(part, GELUFeedForward):
        activation, width = "gelu_tanh" if part.approximate == "tanh" else "gelu", part.up.out_features
    elif isinstance(part, QuickGELUFeedForward):
        activation, width = "quick_gelu", part.up.out_features
    else:
        no_form(f"{type(part).__name__}")
    assert isinstance(mixer, SoftmaxMixer)
    if (part.down.bias is None) != (mixer.out.bias is None):
        no_form("a bias in only one of the mixer's output and the feed-forward")
    ratio = width / dim
    if int(dim * ratio) != width:
        ratio += 1e-9  # timm rounds dim * mlp_ratio down
    return {"act_layer": activation, "mlp_ratio": ratio}


def _norm(tower: VisionTower, block: Block) -> dict[str, Any]:
    norms = [module for module in tower.modules() if isinstance(module, nn.LayerNorm | nn.RMSNorm)]
    kinds = {(type(norm), norm.eps) for norm in norms}
    if len(kinds) > 1 or any(norm.eps != EPS for norm in norms):
        no_form(f"norms other than one kind with eps={EPS}")
    if any(isinstance(norm, nn.LayerNorm) and norm.bias is None for norm in norms):
        no_form("a LayerNorm without bias")
    return {"norm_layer": "rmsnorm" if isinstance(block.mixer_norm, nn.RMSNorm) else "layernorm"}


def _pool(tower: VisionTower, block: Block) -> dict[str, Any]:
    pool = tower.pool
    if isinstance(pool, DistilledPool):
        return {"global_pool": "token", "fc_norm": False}
    if isinstance(pool, ClassTokenPool | MeanPool):
        return {"global_pool": "token" if isinstance(pool, ClassTokenPool) else "avg", "fc_norm": pool.norm_after}
    if not isinstance(pool, AttentionPool):
        no_form(type(pool).__name__)
    mixer, mlp, pool_mlp = block.mixer, block.feedforward, getattr(pool, "feedforward", None)
    assert isinstance(mixer, SoftmaxMixer)
    alike = (
        isinstance(pool, AttentionPool)
        and pool.heads == mixer.heads
        and isinstance(mlp, GELUFeedForward | QuickGELUFeedForward)
        and isinstance(pool_mlp, GELUFeedForward | QuickGELUFeedForward)
        and type(mlp) is type(pool_mlp)
        and getattr(mlp, "approximate", None) == getattr(pool_mlp, "approximate", None)
        and mlp.up.out_features == pool_mlp.up.out_features
    )
    if not alike:
        no_form("an attention pool whose heads or feed-forward differ from the blocks'")
    return {"global_pool": "map", "fc_norm": pool.norm_after}


def _position(tower: VisionTower) -> str:
    if not isinstance(tower.position, LearnedPosition | NoPosition):
        no_form(f"{type(tower.position).__name__}")
    return "learn" if isinstance(tower.position, LearnedPosition) else "none"


def no_form(part: str) -> NoReturn:
    """Raises the UserError for a part that timm lacks."""
    raise UserError(
        f"timm's ViT has no {part}, so this model cannot be written for timm; export it as format='triptych'."
    )
