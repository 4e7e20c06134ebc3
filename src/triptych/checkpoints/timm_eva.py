"""What a ViT of timm's ``models/eva.py`` is: EVA, EVA-02, ViTs with rotary positions, DINOv3.

As in `triptych.checkpoints.timm_config`, read from ``config.json`` and the shapes of the weights, version 1.0 of timm.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from triptych.checkpoints.foreign import Described, part
from triptych.checkpoints.timm_config import count_registers, places_of, preprocess_of
from triptych.checkpoints.timm_eva_rules import Layout, eva_rules
from triptych.errors import UserError

# Arguments that each architecture sets and weights do not tell; heads by the word after the family.
ROTARY = {"use_rot_pos_emb": True, "rope_type": "cat", "rope_temperature": 10000.0, "rope_grid_indexing": "ij"}
ROPE_VIT = {
    **ROTARY,
    "rope_temperature": 100.0,
    "rope_grid_indexing": "xy",
    "attn_type": "rope",
    "global_pool": "token",
}
DINOV3 = {**ROTARY, "rope_type": "dinov3", "rope_temperature": 100.0, "rope_rotate_half": True, "eps": 1e-5}
FAMILIES: list[tuple[str, dict[str, Any]]] = [
    (r"eva02_(\w+?)_patch14_\d+$", {**ROTARY, "ref_feat_shape": 16}),
    (r"eva_(giant|large)_patch14_\d+$", {}),
    (r"vit_(\w+?)_patch16_rope_reg\d_gap_\d+$", {**ROTARY, "ref_feat_shape": 16}),
    (r"vit_(\w+?)_patch16_rope(_ape)?_\d+$", ROPE_VIT),
    (r"vit_(\w+?)_patch16_dinov3(_qkvb)?$", DINOV3),
]
HEADS = {
    "tiny": 3, "small": 6, "small_plus": 6, "medium": 8, "mediumd": 8, "betwixt": 10, "base": 12, "large": 16,
    "giant": 16, "huge_plus": 20, "7b": 32,
}  # fmt: skip
COORDINATES = {"cat": "corner_aligned", "dinov3": "unit_centred"}
# Arguments that are read here, that the weights tell, or that change nothing in the function.
KNOWN = {
    "img_size", "patch_size", "in_chans", "num_classes", "global_pool", "embed_dim", "depth", "num_heads", "qkv_bias",
    "qkv_fused", "mlp_ratio", "swiglu_mlp", "swiglu_align_to", "scale_mlp", "attn_type", "init_values", "class_token",
    "num_reg_tokens", "no_embed_class", "use_abs_pos_emb", "use_rot_pos_emb", "rope_type", "rope_grid_indexing",
    "rope_temperature", "rope_rotate_half", "ref_feat_shape", "use_fc_norm", "use_post_transformer_norm",
    "dynamic_img_size", "drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate",
    "drop_path_rate", "head_init_scale",
}  # fmt: skip
OTHERS = re.compile(r"rope|dinov3|^eva")


def is_eva(architecture: str) -> bool:
    """Whether an architecture's name is one of those that timm builds in ``models/eva.py``."""
    return bool(OTHERS.search(architecture))


def describe_eva(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Described:
    """The saved model in our terms. Raises UserError where it has a part that we have not."""
    name = str(config["architecture"])
    found = next(((re.match(pattern, name), known) for pattern, known in FAMILIES if re.match(pattern, name)), None)
    if found is None or found[0] is None or found[0][1] not in HEADS:
        raise UserError(
            f"The timm architecture {name!r} is not one that Triptych reads; of those with rotary positions it reads "
            "eva02_*_patch14_*, vit_*_rope_reg*_gap_*, vit_*_rope_224, vit_*_rope_ape_224 and vit_*_dinov3."
        )
    given = dict(config.get("model_args") or {})
    arguments = {"num_heads": HEADS[found[0][1]], "eps": 1e-6, **found[1], **given}
    unknown = [key for key, value in given.items() if key not in KNOWN and value]
    if unknown:
        raise UserError(f"The timm model {name} was built with {', '.join(unknown)}, which Triptych does not read.")
    for key in ("patch_embed.proj.weight", "blocks.0.norm1.weight", "blocks.0.mlp.fc2.weight"):
        if key not in state:
            raise UserError(f"The timm model {name} has no weight {key!r}, so it is not what its name says.")
    dim, channels, *patch_size = state["patch_embed.proj.weight"].shape
    layout = _layout(arguments, state, (channels, patch_size[0], patch_size[1]))
    class_token, registers = "cls_token" in state, count_registers(state)
    image_size, embed_prefix = places_of(name, config, state, int(class_token) + registers, tuple(patch_size))
    norm = part("norm.LayerNorm", eps=arguments["eps"])
    head = state.get("head.weight")
    tower = {
        "_target_": "triptych.towers.vision.VisionTower",
        "image_size": image_size,
        "dim": dim,
        "depth": 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks.")),
        "patch": part("patch.PatchEmbedding", patch_size=patch_size, channels=channels),
        "mixer": part(
            "mixers.softmax.SoftmaxMixer", heads=int(arguments["num_heads"]), qkv_bias=bool(layout.biased),
            key_bias="k" in layout.biased,
        ),
        "feedforward": _feedforward(layout, state, norm),
        "norm": norm,
        "position": _position(name, arguments, embed_prefix),
        "pool": _pool(name, {**arguments, "config": config}, class_token, "fc_norm.weight" in state),
        "registers": registers,
        "layer_scale": (arguments.get("init_values") or 1e-5) if "blocks.0.gamma_1" in state else None,
    }  # fmt: skip
    model = {
        "_target_": "triptych.models.classifier.Classifier",
        "tower": tower,
        "num_classes": 0 if head is None else head.shape[0],
    }
    prefix = int(class_token) + registers if embed_prefix else 0
    rotary = arguments.get("use_rot_pos_emb", False)
    position = "tower.position.learned" if rotary else "tower.position"
    return Described(
        model, eva_rules(layout, prefix, position), preprocess_of(config, (image_size[0], image_size[1]), channels)
    )


def _layout(arguments: Mapping[str, Any], state: Mapping[str, Tensor], patch: tuple[int, int, int]) -> Layout:
    attention, mlp = "blocks.0.attn", "blocks.0.mlp"
    fused = f"{attention}.qkv.weight" in state
    if fused:
        biased = "qkv" if f"{attention}.qkv.bias" in state else "qv" if f"{attention}.q_bias" in state else ""
    else:
        biased = "".join(letter for letter in "qkv" if f"{attention}.{letter}_proj.bias" in state)
    split = f"{mlp}.fc1_g.weight" in state
    gated = split or state[f"{mlp}.fc1.weight"].shape[0] == 2 * state[f"{mlp}.fc2.weight"].shape[1]
    return Layout(
        patch=patch,
        heads=int(arguments["num_heads"]),
        feedforward="split" if split else "packed" if gated else "plain",
        fused=fused,
        biased=biased,
        shared_bias=f"{attention}.qkv.bias" in state,
        halves=bool(arguments.get("rope_rotate_half", False)),
    )


def _feedforward(layout: Layout, state: Mapping[str, Tensor], norm: dict[str, Any]) -> dict[str, Any]:
    kind = "GELUFeedForward" if layout.feedforward == "plain" else "SwiGLUFeedForward"
    return part(
        f"feedforward.{kind}",
        hidden_dim=state["blocks.0.mlp.fc2.weight"].shape[1],
        inner_norm=norm if "blocks.0.mlp.norm.weight" in state else None,
    )


def _position(name: str, arguments: Mapping[str, Any], embed_prefix: bool | None) -> dict[str, Any]:
    if not arguments.get("use_rot_pos_emb", False):
        return (
            part("position.NoPosition")
            if embed_prefix is None
            else part("position.LearnedPosition", embed_prefix=embed_prefix)
        )
    kind, reference = arguments["rope_type"], arguments.get("ref_feat_shape")
    if kind not in COORDINATES:
        raise UserError(
            f"The timm model {name} has rope_type={kind!r}; Triptych reads {' and '.join(COORDINATES)}, "
            "whose angles are the same in all blocks."
        )
    coordinates = COORDINATES[kind] if kind == "dinov3" or reference is not None else "unscaled"
    settings = {
        "base": float(arguments["rope_temperature"]),
        "coordinates": part(f"coordinates.{coordinates}", width_first=arguments["rope_grid_indexing"] == "xy"),
        "reference": None
        if reference is None or kind == "dinov3"
        else [reference, reference]
        if isinstance(reference, int)
        else list(reference),
    }
    if embed_prefix is None:
        return part("position.RotaryPosition", **settings)
    return part("position.LearnedRotaryPosition", embed_prefix=embed_prefix, **settings)


def _pool(name: str, arguments: Mapping[str, Any], class_token: bool, after: bool) -> dict[str, Any]:
    given = (arguments["config"].get("model_args") or {}).get("global_pool")
    kind = given or arguments["config"].get("global_pool") or arguments.get("global_pool", "avg")
    if kind == "token" and class_token:
        return part("pool.ClassTokenPool", norm_after=after)
    if kind == "avg":
        return part("pool.MeanPool", norm_after=after, class_token=class_token)
    raise UserError(f"The timm model {name} pools by global_pool={kind!r}; Triptych reads 'token' and 'avg' there.")
