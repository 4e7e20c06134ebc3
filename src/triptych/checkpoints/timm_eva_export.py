"""The ``config.json`` with which timm's ``models/eva.py`` builds a classifier of ours."""

from functools import partial
from typing import Any

from torch import nn

from triptych.checkpoints.remap import Rule
from triptych.checkpoints.timm_eva_rules import Layout, eva_rules
from triptych.checkpoints.timm_export import hub_config, no_form, sizes, tower_and_block
from triptych.models.classifier import Classifier
from triptych.nn.block import Block
from triptych.nn.coordinates import corner_aligned, unit_centred, unscaled
from triptych.nn.feedforward import GELUFeedForward, SwiGLUFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.pool import ClassTokenPool, MeanPool
from triptych.nn.position import LearnedPosition, LearnedRotaryPosition, NoPosition, RotaryPosition
from triptych.towers.vision import VisionTower

# Architectures whose defaults the arguments below all override, by what no argument can say: the epsilon of the norms.
ARCHITECTURES = {1e-6: "eva02_tiny_patch14_224", 1e-5: "vit_small_patch16_dinov3"}


def needs_eva(model: Classifier) -> bool:
    """Whether the model has a part that timm has in ``models/eva.py`` alone."""
    tower = model.tower
    if not isinstance(tower, VisionTower):
        return False
    block = tower.stack.blocks[0]
    assert isinstance(block, Block)
    return (
        isinstance(tower.position, RotaryPosition | LearnedRotaryPosition)
        or (isinstance(block.mixer, SoftmaxMixer) and block.mixer.qkv.biased == [True, False, True])
        or not isinstance(getattr(block.feedforward, "inner_norm", nn.Identity()), nn.Identity)
    )


def eva_config(model: Classifier) -> tuple[dict[str, Any], list[Rule]]:
    """What timm's hub writer would save for this model, and how its names become timm's.

    Raises UserError, naming the part, where timm has none like it.
    """
    tower, block = tower_and_block(model)
    mixer = block.mixer
    if not isinstance(mixer, SoftmaxMixer) or mixer.kv_heads != mixer.heads or mixer.query_norm is not None:
        no_form("rotary positions beside grouped or normalised keys, or a mixer other than softmax attention")
    if mixer.out.bias is None or "down.bias" not in dict(block.feedforward.named_parameters()):
        no_form("rotary positions beside projections without bias")
    learned = tower.position.learned if isinstance(tower.position, LearnedRotaryPosition) else tower.position
    prefix_places = tower.position.prefix_table()
    biased = "".join(letter for letter, has in zip("qkv", mixer.qkv.biased, strict=True) if has)
    rotary = _rotary(tower)
    form, feedforward = _feedforward(block, tower.dim)
    arguments = {
        **sizes(model, tower),
        "num_heads": mixer.heads,
        "attn_type": "rope" if biased == "qkv" else "eva",
        "qkv_bias": bool(biased),
        "qkv_fused": True,
        **feedforward,
        **_pool(tower),
        "init_values": None if block.mixer_scale is None else block.mixer_scale.initial,
        "class_token": tower.class_token is not None,
        "num_reg_tokens": tower.prefix - int(tower.class_token is not None),
        "no_embed_class": prefix_places is None,
        "use_abs_pos_emb": isinstance(learned, LearnedPosition),
        **rotary,
    }
    config = hub_config(model, ARCHITECTURES[_eps(tower)], arguments, "head")
    # What differs from the architecture's own default must be said even where it is None.
    for key in ("init_values", "ref_feat_shape"):
        config["model_args"].setdefault(key, None)
    height, width = tower.patch.patch_size
    layout = Layout(
        patch=(tower.channels, height, width),
        heads=mixer.heads,
        feedforward=form,
        fused=True,
        biased=biased,
        shared_bias=biased == "qkv",
        halves=bool(rotary.get("rope_rotate_half")),
    )
    position = "tower.position.learned" if isinstance(tower.position, LearnedRotaryPosition) else "tower.position"
    return config, eva_rules(layout, 0 if prefix_places is None else tower.prefix, position)


def _eps(tower: VisionTower) -> float:
    norms = [module for module in tower.modules() if isinstance(module, nn.LayerNorm | nn.RMSNorm)]
    if any(not isinstance(norm, nn.LayerNorm) or norm.bias is None for norm in norms):
        no_form("norm other than LayerNorm with a bias beside rotary positions or norms inside the feed-forward")
    found = {norm.eps for norm in norms}
    if len(found) > 1 or not found <= ARCHITECTURES.keys():
        no_form(f"norms with eps {sorted(map(str, found))} (one of {list(ARCHITECTURES)} for all)")
    return float(found.pop() or 0)


def _feedforward(block: Block, dim: int) -> tuple[Any, dict[str, Any]]:
    part = block.feedforward
    if not isinstance(part, SwiGLUFeedForward) and not (
        isinstance(part, GELUFeedForward) and part.approximate == "none"
    ):
        no_form(f"{type(part).__name__} beside rotary positions")
    hidden = part.down.in_features
    ratio = hidden / dim
    if int(dim * ratio) != hidden:
        ratio += 1e-9  # timm rounds dim * mlp_ratio down
    inner, gated = not isinstance(part.inner_norm, nn.Identity), isinstance(part, SwiGLUFeedForward)
    form = ("split" if inner else "packed") if gated else "plain"
    return form, {"mlp_ratio": ratio, "swiglu_mlp": gated, "swiglu_align_to": 0, "scale_mlp": inner}


def _pool(tower: VisionTower) -> dict[str, Any]:
    pool = tower.pool
    if not isinstance(pool, ClassTokenPool | MeanPool):
        no_form(f"{type(pool).__name__} beside rotary positions")
    return {
        "global_pool": "token" if isinstance(pool, ClassTokenPool) else "avg",
        "use_fc_norm": pool.norm_after,
        "use_post_transformer_norm": not pool.norm_after,
    }


def _rotary(tower: VisionTower) -> dict[str, Any]:
    position = tower.position
    angles = position.angles if isinstance(position, LearnedRotaryPosition) else position
    if isinstance(angles, LearnedPosition | NoPosition):
        return {"use_rot_pos_emb": False}
    if not isinstance(angles, RotaryPosition):
        no_form(f"{type(angles).__name__}")
    coordinates, settings = angles.coordinates, {}
    if isinstance(coordinates, partial):
        coordinates, settings = coordinates.func, coordinates.keywords
    if coordinates not in (corner_aligned, unscaled, unit_centred):
        name = getattr(coordinates, "__name__", str(coordinates))
        no_form(f"{type(position).__name__} with {name} coordinates (corner_aligned, unscaled, unit_centred)")
    dinov3 = coordinates is unit_centred
    return {
        "use_rot_pos_emb": True,
        "rope_type": "dinov3" if dinov3 else "cat",
        "rope_temperature": angles.base,
        "rope_grid_indexing": "xy" if settings.get("width_first") else "ij",
        "rope_rotate_half": dinov3,
        "ref_feat_shape": list(angles.built_grid) if coordinates is corner_aligned else None,
    }
