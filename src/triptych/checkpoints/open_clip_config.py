"""What an open_clip model is, read from its ``open_clip_config.json`` and the shapes of its weights, or from the
weights alone, as OpenAI's state dicts and open_clip's training files leave it.

Formats: open_clip ``model.py`` (``CLIPVisionCfg``, ``CLIPTextCfg``) and ``transform.py`` (``PreprocessCfg``), 3.x.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from triptych.checkpoints.foreign import Described, part
from triptych.checkpoints.huggingface_common import ACTIVATIONS, depth_of, pair
from triptych.checkpoints.open_clip_rules import rules, trunk_rules, vision_rules
from triptych.checkpoints.pair import MEAN, STD, contrastive, linear, need, tokenizer_in
from triptych.checkpoints.timm import describe as describe_timm
from triptych.errors import UserError

SOURCE = "open_clip"
# Settings that change what a tower computes in ways that ours have not.
OTHER_BLOCKS = ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc")
OTHER_VISION = ("attentional_pool", "no_ln_pre", *OTHER_BLOCKS)
OTHER_TEXT = ("hf_model_name", "embed_cls", *OTHER_BLOCKS)
# Widths of an attention head other than 64, by the width of the tower: ViT-H, g, G, e.
HEAD_WIDTHS = {1280: 80, 1408: 88, 1664: 104, 1792: 112}
RESIZES = {"shortest": "center", "longest": "border", "squash": "squash"}
# What OpenAI's models carry beside their weights.
OPENAI_NUMBERS = ("input_resolution", "context_length", "vocab_size")


def describe(config: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path) -> Described:
    """Both towers. Raises UserError where one has a part that we have not."""
    settings, text_settings = dict(config["model_cfg"]), dict(config["model_cfg"]["text_cfg"])
    vision_settings = dict(settings["vision_cfg"])
    for told, others in ((vision_settings, OTHER_VISION), (text_settings, OTHER_TEXT)):
        if found := [key for key in others if told.get(key)]:
            raise UserError(
                f"The open_clip model in {folder} has {found[0]}={told[found[0]]!r}; Triptych has no such part."
            )
    quick = bool(settings.get("quick_gelu"))
    timm_name = vision_settings.get("timm_model_name")
    if isinstance(vision_settings.get("layers"), list) or (timm_name is None and "visual.conv1.weight" not in state):
        raise UserError(f"The open_clip model in {folder} has a ResNet for images; Triptych reads vision transformers.")
    make = _native if timm_name is None else _trunk
    image, projection, vision, preprocess = make(vision_settings, state, quick, config.get("preprocess_cfg") or {})
    prefix = "text." if "text.token_embedding.weight" in state else ""
    text = _text(text_settings, state, prefix, quick)
    text_bias = f"{prefix}text_projection.weight" in state
    width = need(state, f"{prefix}text_projection{'.weight' if text_bias else ''}", SOURCE).shape
    embedding_dim = int(width[0] if text_bias else width[1])
    projections = {"image": projection, "text": linear(f"{prefix}text_projection.bias" in state)}
    cleaning = (text_settings.get("tokenizer_kwargs") or {}).get("clean", "whitespace")
    clean = "canonical" if cleaning == "canonicalize" else cleaning
    tokenizer = tokenizer_in(folder, text["vocab_size"], text["context_length"], clean)
    model = contrastive(image, text, embedding_dim, projections, "logit_bias" in state, tokenizer)
    after = bool(text_settings.get("final_ln_after_pool"))
    unread = [key for key in OPENAI_NUMBERS if key in state]
    return Described(model, rules(vision, prefix, text_bias, after), preprocess, unread=tuple(unread))


def infer(state: Mapping[str, Tensor], quick_gelu: bool) -> dict[str, Any]:
    """The configuration of a plain CLIP, from its weights. They do not tell the activation, nor how many heads there
    are: one for every 64 channels, but for the largest towers.

    Raises UserError where it is no plain CLIP.
    """
    prefix = "text." if "text.token_embedding.weight" in state else ""
    if "visual.conv1.weight" not in state or f"{prefix}text_projection" not in state:
        raise UserError(
            "These weights are of no plain CLIP, and there is no open_clip_config.json beside them that says what they "
            "are of; put one there."
        )
    dim, _, patch, _ = state["visual.conv1.weight"].shape
    width = state[f"{prefix}ln_final.weight"].shape[0]
    side = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5) * patch
    vision = {"image_size": side, "width": dim, "head_width": HEAD_WIDTHS.get(dim, 64), "patch_size": patch}
    return {"model_cfg": {"quick_gelu": quick_gelu, "vision_cfg": vision, "text_cfg": {"heads": max(1, width // 64)}}}


Image = tuple[dict[str, Any], dict[str, Any] | None, list[Any], dict[str, Any]]


def _native(settings: dict[str, Any], state: Mapping[str, Tensor], quick: bool, preprocess: Mapping[str, Any]) -> Image:
    dim, channels, *patch = need(state, "visual.conv1.weight", SOURCE).shape
    after = bool(settings.get("final_ln_after_pool", False))
    kind = settings.get("pool_type", "tok")
    if kind not in ("tok", "avg"):
        raise UserError(f"The open_clip model pools images by pool_type={kind!r}; Triptych reads 'tok' and 'avg'.")
    # For one token it is the same whether the norm comes before it is picked, or after, which is less work.
    after = after or kind == "tok"
    blocks = _blocks(settings, state, "visual.", quick, dim // settings.get("head_width", 64))
    image_size = pair(settings.get("image_size", 224))
    tower = {
        "_target_": "triptych.towers.vision.VisionTower",
        "image_size": image_size,
        "dim": dim,
        "patch": part("patch.PatchEmbedding", patch_size=patch, channels=channels, bias=False),
        **blocks,
        "position": part("position.LearnedPosition"),
        "pool": part("pool.ClassTokenPool", norm_after=True)
        if kind == "tok"
        else part("pool.MeanPool", norm_after=after, class_token=True),
        "input_norm": blocks["norm"],
    }
    found = preprocess_of(preprocess, image_size)
    return tower, linear(), vision_rules((channels, patch[0], patch[1]), after), found


def _trunk(settings: dict[str, Any], state: Mapping[str, Tensor], quick: bool, preprocess: Mapping[str, Any]) -> Image:
    name, kind = str(settings["timm_model_name"]), settings.get("timm_proj", "linear")
    trunk = {key.removeprefix("visual.trunk."): state[key] for key in state if key.startswith("visual.trunk.")}
    # A number for both sides, or two.
    size = settings.get("image_size", 224)
    config = {"architecture": name, "model_args": {"img_size": size}, "global_pool": settings.get("timm_pool") or None}
    described = describe_timm(config, trunk)
    projection = "visual.trunk.head" if "head.weight" in trunk else "visual.head.proj"
    if kind not in ("linear", "none", "", None):
        raise UserError(f"The open_clip model has timm_proj={kind!r}; Triptych reads 'linear', 'none' and ''.")
    made = linear(f"{projection}.bias" in state) if f"{projection}.weight" in state else None
    found = preprocess_of(preprocess, pair(size))
    return described.model["tower"], made, trunk_rules(described.rules, projection), found


def _text(settings: dict[str, Any], state: Mapping[str, Tensor], prefix: str, quick: bool) -> dict[str, Any]:
    vocab_size, width = need(state, f"{prefix}token_embedding.weight", SOURCE).shape
    context_length = need(state, f"{prefix}positional_embedding", SOURCE).shape[0]
    pool, causal = settings.get("pool_type", "argmax"), not settings.get("no_causal_mask", False)
    ends = {"argmax": vocab_size - 1, "eos": settings.get("eos_id", 2), "last": None}
    if pool not in ends or (not causal and pool != "last"):
        raise UserError(
            f"The open_clip model pools texts by pool_type={pool!r} {'behind' if causal else 'without'} a causal mask; "
            "Triptych reads 'argmax' and 'eos' behind one, and 'last'."
        )
    return {
        "_target_": "triptych.towers.text.TextTower",
        "vocab_size": vocab_size,
        "context_length": context_length,
        "dim": width,
        **_blocks(settings, state, prefix, quick, settings.get("heads", 8)),
        "position": part("position.LearnedPosition"),
        "pool": part("pool.LastTokenPool", norm_after=bool(settings.get("final_ln_after_pool"))),
        "causal": causal,
        "end_token": ends[pool],
        "reads_padding": pool == "last",
    }


def _blocks(
    settings: dict[str, Any], state: Mapping[str, Tensor], prefix: str, quick: bool, heads: int
) -> dict[str, Any]:
    layers = f"{prefix}transformer.resblocks."
    tanh = (settings.get("act_kwargs") or {}).get("approximate") == "tanh"
    activation = "quick_gelu" if quick else "gelu_pytorch_tanh" if tanh else "gelu"
    hidden = need(state, f"{layers}0.mlp.c_fc.weight", SOURCE).shape[0]
    return {
        "depth": depth_of(state, layers),
        "mixer": part("mixers.softmax.SoftmaxMixer", heads=int(heads)),
        "feedforward": {**ACTIVATIONS[activation], "hidden_dim": hidden},
        "norm": part("norm.LayerNorm", eps=float((settings.get("norm_kwargs") or {}).get("eps", 1e-5))),
        "layer_scale": settings.get("ls_init_value"),
    }


def preprocess_of(settings: Mapping[str, Any], image_size: list[int]) -> dict[str, Any]:
    """What an open_clip model wants of images, in our terms."""
    resize, interpolation = settings.get("resize_mode", "shortest"), settings.get("interpolation", "bicubic")
    if resize not in RESIZES:
        raise UserError(f"The open_clip model has resize_mode={resize!r}; Triptych reads {', '.join(RESIZES)}.")
    return {
        "image_size": image_size, "mean": list(settings.get("mean") or MEAN), "std": list(settings.get("std") or STD),
        "interpolation": "bicubic" if interpolation == "random" else interpolation, "crop": 1.0,
        "mode": RESIZES[resize],
    }  # fmt: skip
