"""The ``config.json`` with which timm builds a classifier of ours."""

from typing import Any, NoReturn

from torch import nn

from triptych.checkpoints.timm_rules import Shape
from triptych.errors import UserError
from triptych.models.classifier import Classifier
from triptych.nn.block import Block
from triptych.nn.feedforward import GELUFeedForward, QuickGELUFeedForward, SwiGLUFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.pool import AttentionPool, ClassTokenPool, MeanPool
from triptych.nn.position import LearnedPosition, NoPosition
from triptych.towers.vision import VisionTower

# Architectures of timm whose defaults the arguments below all override; they differ in what no JSON argument can say.
PLAIN, GATED = "vit_base_patch16_224", "vit_giant_patch14_dinov2"
EPS = 1e-6


def timm_config(model: Classifier) -> tuple[dict[str, Any], Shape]:
    """What timm's hub writer would save for this model, and the shape of its weights for the rules.

    Raises UserError, naming the part, where timm's plain ViT has none like it.
    """
    tower = model.tower
    block = tower.stack.blocks[0]
    assert isinstance(block, Block)
    if tower.patch.stride != tower.patch.patch_size or tower.patch.projection.bias is None:
        _no_form("patches that overlap, or have no bias")
    prefix_places = tower.position.prefix_table()
    arguments = {
        "img_size": list(tower.image_size),
        "patch_size": list(tower.patch.patch_size),
        "in_chans": tower.channels,
        "num_classes": model.num_classes,
        "embed_dim": tower.dim,
        "depth": len(tower.stack.blocks),
        **_mixer(block),
        **_feedforward(block, tower.dim),
        **_norm(tower, block),
        **_pool(tower, block),
        "init_values": None if block.mixer_scale is None else block.mixer_scale.initial,
        "class_token": tower.class_token is not None,
        "no_embed_class": prefix_places is None and tower.prefix > 0,
        "reg_tokens": tower.prefix - int(tower.class_token is not None),
        "pos_embed": _position(tower),
        "pre_norm": False,
    }
    gated = isinstance(block.feedforward, SwiGLUFeedForward)
    preprocess = model.preprocess
    config = {
        "architecture": GATED if gated else PLAIN,
        "num_classes": model.num_classes,
        "num_features": tower.dim,
        "global_pool": arguments["global_pool"],
        "model_args": {key: value for key, value in arguments.items() if value is not None},
        "pretrained_cfg": {
            "input_size": [tower.channels, *tower.image_size],
            "fixed_input_size": True,
            "interpolation": preprocess.interpolation,
            "crop_pct": preprocess.crop,
            "crop_mode": preprocess.mode,
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "num_classes": model.num_classes,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }
    height, width = tower.patch.patch_size
    prefix = 0 if prefix_places is None else tower.prefix
    return config, Shape(prefix, (tower.channels, height, width), "packed" if gated else "plain")


def _mixer(block: Block) -> dict[str, Any]:
    mixer = block.mixer
    if not isinstance(mixer, SoftmaxMixer) or mixer.kv_heads != mixer.heads:
        _no_form("a mixer other than softmax attention with as many key-value heads as heads")
    return {
        "num_heads": mixer.heads,
        "qkv_bias": mixer.qkv.bias is not None,
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
        _no_form(f"{type(part).__name__}")
    assert isinstance(mixer, SoftmaxMixer)
    if (part.down.bias is None) != (mixer.out.bias is None):
        _no_form("a bias in only one of the mixer's output and the feed-forward")
    ratio = width / dim
    if int(dim * ratio) != width:
        ratio += 1e-9  # timm rounds dim * mlp_ratio down
    return {"act_layer": activation, "mlp_ratio": ratio}


def _norm(tower: VisionTower, block: Block) -> dict[str, Any]:
    norms = [module for module in tower.modules() if isinstance(module, nn.LayerNorm | nn.RMSNorm)]
    kinds = {(type(norm), norm.eps) for norm in norms}
    if len(kinds) > 1 or any(norm.eps != EPS for norm in norms):
        _no_form(f"norms other than one kind with eps={EPS}")
    if any(isinstance(norm, nn.LayerNorm) and norm.bias is None for norm in norms):
        _no_form("a LayerNorm without bias")
    return {"norm_layer": "rmsnorm" if isinstance(block.mixer_norm, nn.RMSNorm) else "layernorm"}


def _pool(tower: VisionTower, block: Block) -> dict[str, Any]:
    pool = tower.pool
    if isinstance(pool, ClassTokenPool | MeanPool):
        return {"global_pool": "token" if isinstance(pool, ClassTokenPool) else "avg", "fc_norm": pool.norm_after}
    mixer, mlp, pool_mlp = block.mixer, block.feedforward, getattr(pool, "feedforward", None)
    assert isinstance(mixer, SoftmaxMixer)
    alike = (
        isinstance(pool, AttentionPool)
        and pool.heads == mixer.heads
        and isinstance(mlp, GELUFeedForward)
        and isinstance(pool_mlp, GELUFeedForward)
        and (mlp.approximate, mlp.up.out_features) == (pool_mlp.approximate, pool_mlp.up.out_features)
    )
    if not alike:
        _no_form("an attention pool whose heads or feed-forward differ from the blocks'")
    return {"global_pool": "map", "fc_norm": pool.norm_after}


def _position(tower: VisionTower) -> str:
    if not isinstance(tower.position, LearnedPosition | NoPosition):
        _no_form(f"{type(tower.position).__name__}")
    return "learn" if isinstance(tower.position, LearnedPosition) else "none"


def _no_form(part: str) -> NoReturn:
    raise UserError(
        f"timm's plain ViT has no {part}, so this model cannot be written for timm; export it as format='triptych'."
    )
