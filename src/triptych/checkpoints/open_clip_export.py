"""Our contrastive models as open_clip's."""

from functools import cache
from typing import Any

import torch
from torch import nn

from triptych.checkpoints.open_clip_config import RESIZES
from triptych.checkpoints.open_clip_rules import rules, trunk_rules, vision_rules
from triptych.checkpoints.pair import Parts, lacks, parts_of, towers_of
from triptych.checkpoints.remap import Rule, export_state
from triptych.checkpoints.timm_export import timm_config
from triptych.features.clip_tokenizer import ClipTokenizer
from triptych.features.preprocess import Preprocess
from triptych.models.classifier import Classifier
from triptych.models.contrastive import Contrastive
from triptych.nn.pool import ClassTokenPool, LastTokenPool, MeanPool
from triptych.towers.text import TextTower
from triptych.towers.vision import VisionTower

LIBRARY = "open_clip"


def express(model: Contrastive) -> tuple[dict[str, Any], list[Rule]]:
    """The ``open_clip_config.json``, and how our names become open_clip's: a CLIP with a tower of its own for images,
    or one of timm's (SigLIP). Raises UserError, naming the part, where it has none like it.
    """
    model, image, text = towers_of(model, LIBRARY)
    parts = parts_of(text, LIBRARY)
    native = not isinstance(image.input_norm, nn.Identity)
    text_settings, text_bias = _text(model, text, parts)
    if native:
        image_parts = parts_of(image, LIBRARY)
        quick = image_parts.activation == "quick_gelu"
        if quick != (parts.activation == "quick_gelu"):
            lacks(LIBRARY, "quick GELU in one tower and another in the other")
        vision, vision_names = _native(model, image, image_parts)
        custom = text_bias or not text.causal
    else:
        vision, vision_names = _trunk(model, image)
        quick, custom = parts.activation == "quick_gelu", True
    settings = {
        "embed_dim": model.embedding_dim,
        "quick_gelu": quick,
        "custom_text": custom,
        "vision_cfg": vision,
        "text_cfg": text_settings,
        "init_logit_scale": 2.6593,
        **({} if model.logit_bias is None else {"init_logit_bias": -10.0}),
    }
    after = text.pool.norm_after
    names = rules(vision_names, "text." if custom else "", text_bias, after)
    return {"model_cfg": settings, "preprocess_cfg": _preprocess(model.preprocess)}, names


def _native(model: Contrastive, image: VisionTower, parts: Parts) -> tuple[dict[str, Any], list[Rule]]:
    pool, patch = image.pool, image.patch
    if not isinstance(pool, ClassTokenPool | MeanPool) or not pool.class_token or image.registers is not None:
        lacks(LIBRARY, f"{type(pool).__name__} without a class token, or with registers, behind an input norm")
    square = patch.patch_size[0] == patch.patch_size[1] and patch.stride == patch.patch_size
    if not patch.linear or patch.projection.bias is not None or not square or image.position.prefix_table() is None:
        lacks(LIBRARY, "patches with convolutions, a bias, not square or overlapping, or a class token without a place")
    projection = model.projections["image"]
    if not isinstance(projection, nn.Linear) or projection.bias is not None:
        lacks(LIBRARY, "projection of images other than linear without bias")
    settings = {
        "image_size": list(image.image_size),
        "patch_size": patch.patch_size[0],
        **_sizes(image, parts),
        "head_width": image.dim // parts.heads,
        "pool_type": "tok" if isinstance(pool, ClassTokenPool) else "avg",
        "final_ln_after_pool": pool.norm_after,
    }
    names = vision_rules((image.channels, *patch.patch_size), pool.norm_after)
    return settings, names


def _trunk(model: Contrastive, image: VisionTower) -> tuple[dict[str, Any], list[Rule]]:
    config, names = timm_config(Classifier(image, 0, model.preprocess))
    shapes = {key: tuple(value.shape) for key, value in _renamed(image, names).items()}
    arguments = config["model_args"]
    name = next((name for name in _candidates(arguments) if _shapes(name, arguments["img_size"][0]) == shapes), None)
    if name is None or image.image_size[0] != image.image_size[1]:
        lacks(LIBRARY, "image tower that is none of timm's SigLIP towers by its sizes")
    projection = model.projections["image"]
    if not isinstance(projection, nn.Identity | nn.Linear):
        lacks(LIBRARY, f"projection by {type(projection).__name__}")
    linear = isinstance(projection, nn.Linear)
    settings = {
        "image_size": image.image_size[0],
        "timm_model_name": name,
        "timm_model_pretrained": False,
        "timm_pool": config["global_pool"],
        "timm_proj": "linear" if linear else "none",
        **({"timm_proj_bias": projection.bias is not None} if linear else {}),
    }
    return settings, trunk_rules(names, "visual.head.proj")


def _text(model: Contrastive, text: TextTower, parts: Parts) -> tuple[dict[str, Any], bool]:
    """The settings, and whether the projection has a bias."""
    last = text.reads_padding
    if not isinstance(text.pool, LastTokenPool) or not (last or (text.causal and text.end_token is not None)):
        lacks(LIBRARY, f"text pooled by {type(text.pool).__name__}, causal={text.causal}, end_token={text.end_token}")
    projection = model.projections["text"]
    if not isinstance(projection, nn.Linear):
        lacks(LIBRARY, f"projection of texts by {type(projection).__name__}")
    bias = projection.bias is not None
    tanh = {"act_kwargs": {"approximate": "tanh"}} if parts.activation == "gelu_pytorch_tanh" else {}
    ended_by_largest = text.end_token == text.vocab_size - 1
    tokenizer = model.tokenizer
    ours = isinstance(tokenizer, ClipTokenizer)
    canonical = getattr(tokenizer, "clean", None) == "canonical"
    return {
        "context_length": text.context_length,
        "vocab_size": text.vocab_size,
        "heads": parts.heads,
        **_sizes(text, parts),
        "pool_type": "last" if last else "argmax" if ended_by_largest else "eos",
        **({} if last or ended_by_largest else {"eos_id": text.end_token}),
        "no_causal_mask": not text.causal,
        "proj_bias": bias,
        "final_ln_after_pool": text.pool.norm_after,
        **({} if ours or tokenizer is None else {"hf_tokenizer_name": "."}),
        **({"tokenizer_kwargs": {"clean": "canonicalize"}} if canonical else {}),
        **tanh,
    }, bias


def _sizes(tower: VisionTower | TextTower, parts: Parts) -> dict[str, Any]:
    block: Any = tower.stack.blocks[0]
    return {
        "width": tower.dim,
        "layers": len(tower.stack.blocks),
        "mlp_ratio": parts.hidden_dim / tower.dim,
        "norm_kwargs": {"eps": parts.eps},
        **({} if block.mixer_scale is None else {"ls_init_value": block.mixer_scale.initial}),
    }


def _preprocess(preprocess: Preprocess | None) -> dict[str, Any]:
    if preprocess is None or preprocess.crop != 1.0:
        lacks(LIBRARY, "preprocessing that cuts away the border (crop below 1)")
    return {
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "interpolation": preprocess.interpolation,
        "resize_mode": next(theirs for theirs, ours in RESIZES.items() if ours == preprocess.mode),
    }


def _candidates(arguments: dict[str, Any]) -> list[str]:
    import timm

    return timm.list_models(f"vit_*_patch{arguments['patch_size'][0]}_siglip*")


@cache
def _shapes(name: str, image_size: int) -> dict[str, tuple[int, ...]] | None:
    import timm

    with torch.device("meta"):
        model: Any = timm.create_model(name, num_classes=0)
    if model.pretrained_cfg["input_size"][-1] != image_size:
        return None
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def _renamed(image: VisionTower, names: list[Rule]) -> dict[str, Any]:
    return export_state(names, {f"tower.{key}": value for key, value in image.state_dict().items()})
