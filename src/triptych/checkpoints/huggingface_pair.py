"""transformers' CLIP and SigLIP, both towers (``models/clip``, ``models/siglip``)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from triptych.checkpoints import huggingface_siglip
from triptych.checkpoints.foreign import Described, part
from triptych.checkpoints.huggingface_common import depth_of, feedforward_of, in_one, pair
from triptych.checkpoints.huggingface_preprocess import complete
from triptych.checkpoints.pair import IMAGE, MEAN, STD, TEXT, contrastive, linear, need, number, tokenizer_in
from triptych.checkpoints.remap import Rule, convolution, moved, rename, reshape

CLIP, SIGLIP = "clip", "siglip"
# What the configuration classes fill in.
TEXT_DEFAULTS: dict[str, dict[str, Any]] = {
    CLIP: {"num_attention_heads": 8, "layer_norm_eps": 1e-5, "hidden_act": "quick_gelu", "eos_token_id": 49407},
    SIGLIP: {"num_attention_heads": 12, "layer_norm_eps": 1e-6, "hidden_act": "gelu_pytorch_tanh"},
}
VISION_DEFAULTS: dict[str, dict[str, Any]] = {
    CLIP: {"num_attention_heads": 12, "layer_norm_eps": 1e-5, "hidden_act": "quick_gelu", "image_size": 224},
    SIGLIP: {"num_attention_heads": 12, "layer_norm_eps": 1e-6, "hidden_act": "gelu_pytorch_tanh", "image_size": 224},
}
# The end token that transformers' old CLIP configurations give, by which it takes the largest id of a text instead.
OLD_END = 2
POSITION_IDS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")


def is_pair(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> bool:
    """Whether both towers are there."""
    both = {name.partition(".")[0] for name in state} >= {"text_model", "vision_model"}
    return config.get("model_type") in (CLIP, SIGLIP) and both


def describe(
    config: Mapping[str, Any], state: Mapping[str, Tensor], preprocess: dict[str, Any], folder: Path
) -> Described:
    """Both towers of a CLIP or a SigLIP. Raises UserError where it has a part that we have not."""
    kind = str(config["model_type"])
    vision = {**VISION_DEFAULTS[kind], **(config.get("vision_config") or {})}
    words = {**TEXT_DEFAULTS[kind], **(config.get("text_config") or {})}
    dim, channels, *patch = need(state, "vision_model.embeddings.patch_embedding.weight", kind).shape
    image_size = pair(vision["image_size"])
    clip = kind == CLIP
    image = {
        "_target_": "triptych.towers.vision.VisionTower",
        "image_size": image_size,
        "dim": dim,
        "patch": part("patch.PatchEmbedding", patch_size=patch, channels=channels, bias=not clip),
        **_blocks(vision, state, "vision_model.", kind),
        "position": part("position.LearnedPosition", antialias=False),
        "pool": part("pool.ClassTokenPool", norm_after=True),
    }
    if clip:
        image["input_norm"] = image["norm"]
    else:
        image["pool"] = part("pool.AttentionPool", heads=image["mixer"]["heads"], feedforward=image["feedforward"])
    vocab_size, width = need(state, "text_model.embeddings.token_embedding.weight", kind).shape
    context_length = need(state, "text_model.embeddings.position_embedding.weight", kind).shape[0]
    end = words.get("eos_token_id")
    text = {
        "_target_": "triptych.towers.text.TextTower",
        "vocab_size": vocab_size,
        "context_length": context_length,
        "dim": width,
        **_blocks(words, state, "text_model.", kind),
        "position": part("position.LearnedPosition"),
        "pool": part("pool.LastTokenPool"),
        "causal": clip,
        "end_token": (vocab_size - 1 if end == OLD_END else end) if clip else None,
        "reads_padding": not clip,
    }
    embedding_dim = need(state, "visual_projection.weight", kind).shape[0] if clip else dim
    projections = {"image": linear() if clip else None, "text": linear(bias=not clip)}
    tokenizer = tokenizer_in(folder, vocab_size, context_length, "none" if clip else "canonical")
    model = contrastive(image, text, embedding_dim, projections, not clip, tokenizer)
    clip_settings = {"mean": MEAN, "std": STD, "mode": "center"} if clip and "mean" not in preprocess else {}
    return Described(
        model, rules(kind, (channels, patch[0], patch[1])),
        complete({**clip_settings, **preprocess}, image_size, channels),
        unread=tuple(name for name in POSITION_IDS if name in state),
    )  # fmt: skip


def rules(kind: str, patch: tuple[int, int, int]) -> list[Rule]:
    """transformers' names and ours."""
    if kind == SIGLIP:
        vision = [
            *moved(huggingface_siglip.rules("vision_model.", patch), "", IMAGE),
            rename("vision_model.post_layernorm.{kind}", f"{IMAGE}stack.norm.{{kind}}"),
            rename("text_model.head.{kind}", "projections.text.{kind}"),
            number("logit_bias", (1,)),
        ]
    else:
        vision = [
            *moved([convolution("patch_embedding.weight", patch)], "vision_model.embeddings.", IMAGE),
            reshape("vision_model.embeddings.class_embedding", f"{IMAGE}class_token", (-1,), (1, -1)),
            Rule(
                ("vision_model.embeddings.position_embedding.weight",),
                (f"{IMAGE}position.prefix_places", f"{IMAGE}position.places"),
                lambda t: [t[0][:1], t[0][1:]], lambda t: [torch.cat(list(t))],
            ),
            rename("vision_model.pre_layrnorm.{kind}", f"{IMAGE}input_norm.{{kind}}"),
            rename("vision_model.post_layernorm.{kind}", f"{IMAGE}pool.norm.{{kind}}"),
            *encoder("vision_model.", IMAGE),
            rename("visual_projection.weight", "projections.image.weight"),
            rename("text_projection.weight", "projections.text.weight"),
        ]  # fmt: skip
    return [
        *vision,
        rename("text_model.embeddings.token_embedding.weight", f"{TEXT}token_embedding.weight"),
        rename("text_model.embeddings.position_embedding.weight", f"{TEXT}position.places"),
        rename("text_model.final_layer_norm.{kind}", f"{TEXT}stack.norm.{{kind}}"),
        *encoder("text_model.", TEXT),
        number("logit_scale", (1,) if kind == SIGLIP else ()),
    ]


def encoder(prefix: str, tower: str) -> list[Rule]:
    """The blocks."""
    theirs, own = f"{prefix}encoder.layers.{{n}}", f"{tower}stack.blocks.{{n}}"
    return [
        rename(f"{theirs}.layer_norm1.{{kind}}", f"{own}.mixer_norm.{{kind}}"),
        in_one([f"{theirs}.self_attn.{part}_proj.{{kind}}" for part in "qkv"], f"{own}.mixer.qkv.{{kind}}"),
        rename(f"{theirs}.self_attn.out_proj.{{kind}}", f"{own}.mixer.out.{{kind}}"),
        rename(f"{theirs}.layer_norm2.{{kind}}", f"{own}.feedforward_norm.{{kind}}"),
        rename(f"{theirs}.mlp.fc1.{{kind}}", f"{own}.feedforward.up.{{kind}}"),
        rename(f"{theirs}.mlp.fc2.{{kind}}", f"{own}.feedforward.down.{{kind}}"),
    ]


def _blocks(config: Mapping[str, Any], state: Mapping[str, Tensor], prefix: str, kind: str) -> dict[str, Any]:
    hidden = need(state, f"{prefix}encoder.layers.0.mlp.fc1.weight", kind).shape[0]
    return {
        "depth": depth_of(state, f"{prefix}encoder.layers."),
        "mixer": part("mixers.softmax.SoftmaxMixer", heads=int(config["num_attention_heads"])),
        "feedforward": feedforward_of(config, "gelu", kind, hidden_dim=hidden),
        "norm": part("norm.LayerNorm", eps=float(config["layer_norm_eps"])),
    }
