"""What a timm ViT is, read from its ``config.json`` and the shapes of its weights, without building it in timm; and
back.

Formats: timm ``models/_hub.py`` (``save_for_hf``) and ``models/vision_transformer.py`` (``VisionTransformer``), version
1.0.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from triptych.checkpoints.foreign import Described, part
from triptych.checkpoints.timm_rules import Shape, rules
from triptych.errors import UserError

# Heads by the word after the family in an architecture's name: weights do not tell them, a config only if set by hand.
HEADS = {
    "tiny": 3, "wee": 4, "xsmall": 4, "little": 5, "small": 6, "medium": 8, "mediumd": 8, "betwixt": 10, "base": 12,
    "so150m": 14, "so150m2": 13, "large": 16, "so400m": 16, "huge": 16, "giant": 16, "giantopt": 16, "gigantic": 16,
    "vit": 2, "vit2": 2, "vit3": 3, "vit4": 3,
}  # fmt: skip
HEADS_BY_NAME = [
    (r"vit_base_patch\d+_plus", 14),
    (r"vit_base_patch16_gap_224$", 16),
    (r"vit_giant_patch14_(reg\d_)?(dinov2|tipsv2)", 24),
]
FAMILIES = ("vit", "deit", "deit3", "flexivit", "test")
# Variants whose blocks compute something else with the same or other weights.
OTHER_BLOCKS = re.compile(r"rope|dinov3|_rpn_|_xp_|_18x2_|radio|_r\d\d?_|intern")
TANH_GELU = re.compile(r"giantopt|so400m_patch16|base_patch32_siglip|large_patch16_siglip(_gap)?_512")
ACTIVATIONS = {
    "gelu": ("feedforward.GELUFeedForward", {"approximate": "none"}),
    "gelu_tanh": ("feedforward.GELUFeedForward", {"approximate": "tanh"}),
    "quick_gelu": ("feedforward.QuickGELUFeedForward", {}),
}
# Arguments that change nothing in a plain ViT's function, or that the weights tell.
HARMLESS = {
    "img_size", "patch_size", "in_chans", "num_classes", "global_pool", "embed_dim", "depth", "num_heads", "mlp_ratio",
    "qkv_bias", "qk_norm", "proj_bias", "init_values", "class_token", "pos_embed", "no_embed_class", "reg_tokens",
    "pre_norm", "final_norm", "fc_norm",
    "dynamic_img_size", "drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate",
    "drop_path_rate", "weight_init", "fix_init", "norm_layer", "act_layer", "strict_img_size",
}  # fmt: skip


def describe(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Described:
    """A plain ViT, with a distillation token or without.

    Raises UserError where the model is no plain ViT, or its config and its weights disagree.
    """
    name = str(config["architecture"])
    arguments = dict(config.get("model_args") or {})
    heads = _heads(name, arguments)
    unknown = [key for key, value in arguments.items() if key not in HARMLESS and value]
    if unknown:
        raise UserError(f"The timm model {name} was built with {', '.join(unknown)}, which plain ViTs do not have.")
    for key in (
        "patch_embed.proj.weight",
        "blocks.0.norm1.weight",
        "blocks.0.attn.qkv.weight",
        "blocks.0.attn.proj.weight",
    ):
        if key not in state:
            raise UserError(f"The timm model {name} has no weight {key!r}, so it is no plain ViT.")
    dim, channels, *patch_size = state["patch_embed.proj.weight"].shape
    depth = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
    distilled = "dist_token" in state
    class_token, registers = "cls_token" in state, 1 if distilled else count_registers(state)
    image_size, embed_prefix = places_of(name, config, state, int(class_token) + registers, tuple(patch_size))
    norm = _norm(name, arguments, state)
    feedforward, form = _feedforward(name, arguments, state)
    tower = {
        "_target_": "triptych.towers.vision.VisionTower",
        "image_size": image_size,
        "dim": dim,
        "depth": depth,
        "patch": part("patch.PatchEmbedding", patch_size=patch_size, channels=channels),
        "mixer": part(
            "mixers.softmax.SoftmaxMixer", heads=heads, qkv_bias="blocks.0.attn.qkv.bias" in state,
            out_bias="blocks.0.attn.proj.bias" in state,
            qk_norm=norm if "blocks.0.attn.q_norm.weight" in state else None,
        ),
        "feedforward": feedforward,
        "norm": norm,
        "position": part("position.NoPosition") if embed_prefix is None
        else part("position.LearnedPosition", embed_prefix=embed_prefix),
        "pool": part("pool.DistilledPool") if distilled else _pool(name, config, state, heads, class_token),
        "registers": registers,
        "layer_scale": (arguments.get("init_values") or 1e-5) if "blocks.0.ls1.gamma" in state else None,
    }  # fmt: skip
    head = state.get("head.weight")
    model = {
        "_target_": "triptych.models.classifier.Classifier",
        "tower": tower,
        "num_classes": 0 if head is None else head.shape[0],
        **({"head": part("head.DistilledHead")} if distilled else {}),
    }
    shape = Shape(
        int(class_token) + registers if embed_prefix else 0, (channels, patch_size[0], patch_size[1]), form, distilled
    )
    return Described(model, rules(shape), preprocess_of(config, (image_size[0], image_size[1]), channels))


def preprocess_of(config: Mapping[str, Any], image_size: tuple[int, int], channels: int) -> dict[str, Any]:
    """The settings that travel with the weights, as `Preprocess` has them."""
    data = config.get("pretrained_cfg") or config
    filled = {
        "mean": [0.5] * channels,
        "std": [0.5] * channels,
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "crop_mode": "center",
    }
    mean, std, interpolation, crop, mode = (data.get(key) or default for key, default in filled.items())
    if len(mean) != channels:
        # timm keeps an RGB mean beside a model of another number of channels; its average is what it uses.
        mean, std = [sum(mean) / len(mean)] * channels, [sum(std) / len(std)] * channels
    return {
        "image_size": list(image_size), "mean": list(mean), "std": list(std),
        "interpolation": interpolation, "crop": crop, "mode": mode,
    }  # fmt: skip


def _heads(name: str, arguments: Mapping[str, Any]) -> int:
    family, _, rest = name.partition("_")
    word = rest.partition("_")[0] if family != "test" else rest
    if family not in FAMILIES or word not in HEADS or OTHER_BLOCKS.search(f"{name}_"):
        raise UserError(
            f"The timm architecture {name!r} is no plain ViT that Triptych reads; it reads the families "
            f"{', '.join(FAMILIES[:-1])} in the sizes {', '.join(list(HEADS)[:-4])}, "
            "without rotary, parallel or hybrid variants."
        )
    by_name = (heads for pattern, heads in HEADS_BY_NAME if re.match(pattern, name))
    return int(arguments.get("num_heads") or next(by_name, HEADS[word]))


def count_registers(state: Mapping[str, Tensor]) -> int:
    """How many registers a state dict of timm holds."""
    return state["reg_token"].shape[1] if "reg_token" in state else 0


def places_of(
    name: str, config: Mapping[str, Any], state: Mapping[str, Tensor], prefix: int, patch: tuple[int, ...]
) -> tuple[list[int], bool | None]:
    """The image size that positions are for, and whether prefix tokens have positions too (None: no positions at
    all).
    """
    data = config.get("pretrained_cfg") or config
    stated = (config.get("model_args") or {}).get("img_size") or (data.get("input_size") or (3, 224, 224))[1:]
    height, width = (stated, stated) if isinstance(stated, int) else stated
    grid = [height // patch[0], width // patch[1]]
    if "pos_embed" not in state:
        return [grid[0] * patch[0], grid[1] * patch[1]], None
    tokens = state["pos_embed"].shape[1]
    for candidate in (grid, [int((tokens - prefix) ** 0.5)] * 2, [int(tokens**0.5)] * 2):
        places = candidate[0] * candidate[1]
        if tokens in (places, places + prefix):
            return [candidate[0] * patch[0], candidate[1] * patch[1]], tokens > places
    raise UserError(
        f"The timm model {name} has {tokens} positions, but its config says images of {height} x {width} in "
        f"patches of {patch[0]} x {patch[1]}, which make {grid[0] * grid[1]} (and {prefix} prefix tokens); "
        "give the right img_size in model_args."
    )


def _norm(name: str, arguments: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Any]:
    given = arguments.get("norm_layer")
    if given is not None and str(given).replace("_", "").lower() not in ("layernorm", "rmsnorm"):
        raise UserError(f"The timm model {name} has norm_layer={given!r}; Triptych reads layernorm and rmsnorm.")
    if "blocks.0.norm1.bias" not in state:
        return part("norm.RMSNorm", eps=1e-6)
    return part("norm.LayerNorm", eps=1e-5 if "_clip_" in name and given is None else 1e-6)


def _feedforward(
    name: str, arguments: Mapping[str, Any], state: Mapping[str, Tensor]
) -> tuple[dict[str, Any], Literal["plain", "packed", "split"]]:
    down = state.get("blocks.0.mlp.fc2.weight")
    if down is None:
        raise UserError(f"The timm model {name} has no weight 'blocks.0.mlp.fc2.weight', so it is no plain ViT.")
    settings = {"hidden_dim": down.shape[1], "bias": "blocks.0.mlp.fc2.bias" in state}
    default = "gelu_tanh" if TANH_GELU.search(name) else "quick_gelu" if "quickgelu" in name else "gelu"
    given = arguments.get("act_layer")
    if "blocks.0.mlp.fc1_g.weight" in state or state["blocks.0.mlp.fc1.weight"].shape[0] == 2 * down.shape[1]:
        if given not in (None, "silu"):
            raise UserError(f"The timm model {name} gates by act_layer={given!r}; Triptych reads silu there.")
        form = "split" if "blocks.0.mlp.fc1_g.weight" in state else "packed"
        return part("feedforward.SwiGLUFeedForward", **settings), form
    if (given or default) not in ACTIVATIONS:
        raise UserError(f"The timm model {name} has act_layer={given!r}; Triptych reads {', '.join(ACTIVATIONS)}.")
    target, options = ACTIVATIONS[given or default]
    return part(target, **settings, **options), "plain"


def _pool(
    name: str, config: Mapping[str, Any], state: Mapping[str, Tensor], heads: int, class_token: bool
) -> dict[str, Any]:
    guess = "map" if "attn_pool.latent" in state else "token" if class_token else "avg"
    kind = (config.get("model_args") or {}).get("global_pool") or config.get("global_pool") or guess
    after = "fc_norm.weight" in state
    if not after and "norm.weight" not in state:
        raise UserError(f"The timm model {name} has no final norm, which Triptych's towers always have.")
    if kind == "token" and class_token:
        return part("pool.ClassTokenPool", norm_after=after)
    if kind == "avg":
        return part("pool.MeanPool", norm_after=after, class_token=class_token)
    if kind == "map" and not class_token and name != "test_vit3":
        return part("pool.AttentionPool", heads=heads, norm_after=after)
    raise UserError(
        f"The timm model {name} pools by global_pool={kind!r} with{'' if class_token else 'out'} a class token; "
        "Triptych reads 'token' (with one), 'avg', and 'map' (without one)."
    )
