"""Our contrastive models as transformers' CLIP and SigLIP."""

from typing import Any

from torch import nn

from triptych.checkpoints.huggingface_common import Expressed
from triptych.checkpoints.huggingface_pair import CLIP, SIGLIP, rules
from triptych.checkpoints.pair import Parts, check_text, lacks, parts_of, towers_of
from triptych.features.clip_tokenizer import ClipTokenizer
from triptych.models.contrastive import Contrastive
from triptych.nn.pool import AttentionPool, ClassTokenPool
from triptych.towers.text import TextTower
from triptych.towers.vision import VisionTower

LIBRARY = "transformers"


def express(model: Contrastive) -> Expressed:
    """A CLIP where texts are read causally, else a SigLIP. Raises UserError, naming the part, where it has none like
    it.
    """
    model, image, text = towers_of(model, LIBRARY)
    check_text(text, LIBRARY)
    vision_parts, text_parts = parts_of(image, LIBRARY), parts_of(text, LIBRARY)
    (height, width), (patch_height, patch_width) = image.image_size, image.patch.patch_size
    if height != width or patch_height != patch_width or image.patch.stride != image.patch.patch_size:
        lacks(LIBRARY, "images or patches that are not square, or overlap")
    if image.registers is not None or any(hasattr(block.mixer_scale, "gain") for block in _blocks(image, text)):
        lacks(LIBRARY, "registers or LayerScale")
    kind = CLIP if text.causal else SIGLIP
    (_check_clip if kind == CLIP else _check_siglip)(model, image, vision_parts)
    vision = {
        "model_type": f"{kind}_vision_model",
        **_sizes(image, vision_parts),
        "image_size": height,
        "patch_size": patch_height,
        "num_channels": image.channels,
    }
    words = {
        "model_type": f"{kind}_text_model",
        **_sizes(text, text_parts),
        "vocab_size": text.vocab_size,
        "max_position_embeddings": text.context_length,
        **_tokens(model, text, kind),
    }
    if kind == CLIP:
        whole = {"projection_dim": model.embedding_dim}
        vision |= whole
        words |= whole
    else:
        whole = {}
        words["projection_size"] = model.embedding_dim
        vision["vision_use_head"] = True
    config = {
        "model_type": kind,
        "architectures": ["CLIPModel" if kind == CLIP else "SiglipModel"],
        **whole,
        "text_config": words,
        "vision_config": vision,
    }
    return Expressed(config, rules(kind, (image.channels, patch_height, patch_width)))


def _check_clip(model: Contrastive, image: VisionTower, parts: Parts) -> None:
    pool = image.pool
    if not isinstance(pool, ClassTokenPool) or not pool.norm_after or isinstance(image.input_norm, nn.Identity):
        lacks(LIBRARY, "causal text tower beside images without a class token, an input norm and a norm after the pool")
    if not image.patch.linear or image.patch.projection.bias is not None or image.position.prefix_table() is None:
        lacks(LIBRARY, "patches with convolutions or a bias, or a class token without a place, in CLIP")
    for projection in model.projections.values():
        if not isinstance(projection, nn.Linear) or projection.bias is not None:
            lacks(LIBRARY, "projection other than linear without bias, in CLIP")
    if model.logit_bias is not None:
        lacks(LIBRARY, "bias of the logits in CLIP")


def _check_siglip(model: Contrastive, image: VisionTower, parts: Parts) -> None:
    pool = image.pool
    if not isinstance(pool, AttentionPool) or pool.norm_after or not isinstance(image.input_norm, nn.Identity):
        lacks(LIBRARY, "text tower that sees both ways beside images that are not pooled by attention")
    made: Any = pool.feedforward
    if pool.heads != parts.heads or made.up.out_features != parts.hidden_dim or image.patch.projection.bias is None:
        lacks(LIBRARY, "attention pool whose heads or feed-forward differ from the blocks', or patches without bias")
    text = model.projections["text"]
    if not isinstance(model.projections["image"], nn.Identity) or getattr(text, "bias", None) is None:
        lacks(LIBRARY, "projection of images, or of texts without bias, in SigLIP")
    if model.logit_bias is None:
        lacks(LIBRARY, "SigLIP without a bias of the logits")


def _sizes(tower: VisionTower | TextTower, parts: Parts) -> dict[str, Any]:
    return {
        "hidden_size": tower.dim,
        "intermediate_size": parts.hidden_dim,
        "num_hidden_layers": len(tower.stack.blocks),
        "num_attention_heads": parts.heads,
        "hidden_act": parts.activation,
        "layer_norm_eps": parts.eps,
    }


def _tokens(model: Contrastive, text: TextTower, kind: str) -> dict[str, Any]:
    if kind == CLIP:
        start = ClipTokenizer.start_token if isinstance(model.tokenizer, ClipTokenizer) else None
        return {"bos_token_id": start, "eos_token_id": text.end_token, "pad_token_id": None}
    return {"bos_token_id": None, "eos_token_id": getattr(model.tokenizer, "end_token", None), "pad_token_id": None}


def _blocks(*towers: VisionTower | TextTower) -> list[Any]:
    return [block for tower in towers for block in tower.stack.blocks]
