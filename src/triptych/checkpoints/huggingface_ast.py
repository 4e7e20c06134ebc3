"""transformers' AST (``models/audio_spectrogram_transformer``), under the names that it saves and under those that it
has in memory since version 5, with a head or bare.

transformers makes every clip ``max_length`` frames long: it keeps the first ones of a longer clip, and puts zeros
*before* normalisation behind a shorter one, which for AudioSet's statistics are 0.467 where silence is -1.278. Here a
shorter clip has as many tokens as it has patches, and its logits are those of its own frames alone, so they differ from
transformers'; of a longer clip the middle is taken. At ``max_length`` frames both give the same.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from triptych.checkpoints.ast_common import AstShape, ast_model, ast_preprocess
from triptych.checkpoints.foreign import Described
from triptych.checkpoints.huggingface_common import (
    Expressed,
    activation_of,
    depth_of,
    feedforward_of,
    final_norm,
    in_one,
    no_form,
    pair,
    places,
    plain_parts,
    prefix_of,
    width_of,
)
from triptych.checkpoints.remap import Rule, convolution, rename, reshape
from triptych.errors import UserError
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.mel_presets import ast
from triptych.models.classifier import Classifier
from triptych.nn.block import Block
from triptych.nn.head import NormedHead
from triptych.nn.pool import PrefixMeanPool
from triptych.towers.audio import AudioTower

log = logging.getLogger("triptych.checkpoints")

KIND = "audio-spectrogram-transformer"
NAME = "audio_spectrogram_transformer."
PATCHES = "embeddings.patch_embeddings.projection"
DEFAULTS: dict[str, Any] = {
    "num_attention_heads": 12, "layer_norm_eps": 1e-12, "num_mel_bins": 128, "max_length": 1024, "frequency_stride": 10,
    "time_stride": 10,
}  # fmt: skip
# What a layer's parts are called: saved, and in the memory of version 5.
SAVED = {
    "layer": "encoder.layer.", "query": "attention.attention.query", "key": "attention.attention.key",
    "value": "attention.attention.value", "out": "attention.output.dense", "up": "intermediate.dense",
    "down": "output.dense",
}  # fmt: skip
IN_MEMORY = {
    "layer": "layers.", "query": "attention.q_proj", "key": "attention.k_proj", "value": "attention.v_proj",
    "out": "attention.o_proj", "up": "mlp.fc1", "down": "mlp.fc2",
}  # fmt: skip
EXTRACTOR = "ASTFeatureExtractor"


def describe(config: Mapping[str, Any], state: Mapping[str, Tensor], preprocess: dict[str, Any]) -> Described:
    """An AST, with or without a head. Raises UserError where it has a part that we have not."""
    config = {**DEFAULTS, **config}
    prefix = prefix_of(state, f"{PATCHES}.weight", KIND)
    names = IN_MEMORY if any(key.startswith(f"{prefix}{IN_MEMORY['layer']}") for key in state) else SAVED
    first = f"{prefix}{names['layer']}0."
    dim, channels, height, width = state[f"{prefix}{PATCHES}.weight"].shape
    if channels != 1 or pair(config.get("patch_size", 16)) != [height, width]:
        raise UserError(
            f"The {KIND} model has patches of {height} x {width} and {channels} channels, but its config.json says "
            f"patch_size={config.get('patch_size', 16)} and a spectrogram has 1 channel."
        )
    eps, stride = float(config["layer_norm_eps"]), (int(config["frequency_stride"]), int(config["time_stride"]))
    shape = AstShape(
        int(config["num_mel_bins"]), int(config["max_length"]), dim, depth_of(state, f"{prefix}{names['layer']}"),
        int(config["num_attention_heads"]), (height, width), stride, eps, eps,
        qkv_bias=f"{first}{names['query']}.bias" in state,
    )  # fmt: skip
    hidden = width_of(state, f"{first}{names['up']}.weight", 0, KIND)
    front_end = ast(**{"mel_bins": shape.mel_bins, **preprocess})
    if front_end.mel_bins != shape.mel_bins:
        raise UserError(
            f"The {KIND} model takes {shape.mel_bins} mel bins, but its feature extractor makes {front_end.mel_bins}."
        )
    head = state.get("classifier.dense.weight")
    model = ast_model(
        shape,
        0 if head is None else head.shape[0],
        feedforward_of(config, "gelu", KIND, hidden_dim=hidden),
        front_end.pad_value,
    )
    unread = tuple(key for key in state if head is None and key.startswith("classifier."))
    norm = rename(f"{prefix}layernorm.{{kind}}", "tower.stack.norm.{kind}")
    preprocess = ast_preprocess(front_end, shape.frames).to_dict()
    return Described(model, [*rules(prefix, (height, width), names), norm], preprocess, unread=unread)


def fits(tower: AudioTower, block: Block) -> bool:
    """It is the only family for audio."""
    return True


def express(model: Classifier, tower: AudioTower, block: Block) -> Expressed:
    """Raises UserError, naming the part, where AST has none like it."""
    mixer, position, eps = plain_parts(tower, block, overlap=True)
    if block.mixer_scale is not None:
        no_form("LayerScale in AST")
    registers = 0 if tower.registers is None else len(tower.registers)
    if not isinstance(tower.pool, PrefixMeanPool) or registers != 1 or position.prefix_places is None:
        no_form(f"{type(tower.pool).__name__} with {registers} registers in AST, or prefix tokens without positions")
    patch, stride = tower.patch.patch_size, tower.patch.stride
    if patch[0] != patch[1]:
        no_form(f"patches of {patch[0]} bins by {patch[1]} frames, which must be square in AST")
    extents = tower.mel_bins, tower.frames
    grid = tuple((extent - size) // step + 1 for extent, size, step in zip(extents, patch, stride, strict=True))
    if position.built_grid != grid:
        no_form(f"tail='complete' in AST where patches do not cover the last of {tower.frames} frames")
    config = {
        "model_type": KIND,
        "architectures": ["ASTForAudioClassification" if model.num_classes else "ASTModel"],
        "hidden_size": tower.dim,
        "num_hidden_layers": len(tower.stack.blocks),
        "num_attention_heads": mixer.heads,
        "intermediate_size": block.feedforward.up.out_features,  # pyright: ignore[reportAttributeAccessIssue]
        "hidden_act": activation_of(block),
        "layer_norm_eps": eps,
        "qkv_bias": mixer.qkv.bias is not None,
        "patch_size": patch[0],
        "frequency_stride": stride[0],
        "time_stride": stride[1],
        "num_mel_bins": tower.mel_bins,
        "max_length": tower.frames,
    }
    if model.num_classes:
        _check_head(model.head, eps)
    prefix = NAME if model.num_classes else ""
    return Expressed(config, [*rules(prefix, patch, SAVED), final_norm(tower, f"{prefix}layernorm")])


def rules(prefix: str, patch: tuple[int, int], names: Mapping[str, str]) -> list[Rule]:
    """transformers' names and ours, but for the final norm; ``names`` are `SAVED` or `IN_MEMORY`."""
    theirs, own = f"{prefix}{names['layer']}{{n}}", "tower.stack.blocks.{n}"
    return [
        reshape(f"{prefix}embeddings.cls_token", "tower.class_token", (1, 1, -1), (1, -1)),
        reshape(f"{prefix}embeddings.distillation_token", "tower.registers", (1, 1, -1), (1, -1)),
        places(f"{prefix}embeddings.position_embeddings", 2),
        convolution(f"{prefix}{PATCHES}.weight", (1, *patch)),
        rename(f"{prefix}{PATCHES}.bias", "tower.patch.projection.bias"),
        rename(f"{theirs}.layernorm_before.{{kind}}", f"{own}.mixer_norm.{{kind}}"),
        in_one([f"{theirs}.{names[part]}.{{kind}}" for part in ("query", "key", "value")], f"{own}.mixer.qkv.{{kind}}"),
        rename(f"{theirs}.{names['out']}.{{kind}}", f"{own}.mixer.out.{{kind}}"),
        rename(f"{theirs}.layernorm_after.{{kind}}", f"{own}.feedforward_norm.{{kind}}"),
        rename(f"{theirs}.{names['up']}.{{kind}}", f"{own}.feedforward.up.{{kind}}"),
        rename(f"{theirs}.{names['down']}.{{kind}}", f"{own}.feedforward.down.{{kind}}"),
        rename("classifier.layernorm.{kind}", "head.norm.{kind}"),
        rename("classifier.dense.{kind}", "head.linear.{kind}"),
    ]


def front_end_from(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The settings of `ast` that a feature extractor has.

    Raises UserError where it is another one.
    """
    kind = config.get("feature_extractor_type", EXTRACTOR)
    if kind != EXTRACTOR:
        raise UserError(f"{path} has feature_extractor_type={kind!r}; with an AST, Triptych reads {EXTRACTOR}.")
    # Without normalisation: a mean of 0, and twice the standard deviation is 1.
    default = {} if config.get("do_normalize", True) else {"mean": 0.0, "std": 0.5}
    found = {name: float(config[name]) for name in ("mean", "std") if name in config} | default
    named = {"num_mel_bins": "mel_bins", "sampling_rate": "sample_rate"}
    return found | {own: int(config[name]) for name, own in named.items() if name in config}


def extractor_of(model: Classifier) -> dict[str, Any]:
    """The settings of a feature extractor that does the same, at the length that the positions are for.

    Raises UserError where there is none.
    """
    preprocess, tower = model.preprocess, model.tower
    assert isinstance(preprocess, AudioPreprocess)
    front_end = preprocess.front_end
    if front_end != ast(front_end.mean, front_end.std, front_end.mel_bins, front_end.sample_rate):
        no_form("front end in AST other than triptych.features.mel_presets.ast, with a mean and std of its own")
    return {
        "feature_extractor_type": EXTRACTOR,
        "feature_size": 1,
        "sampling_rate": front_end.sample_rate,
        "num_mel_bins": front_end.mel_bins,
        "max_length": tower.frames,
        "do_normalize": True,
        "mean": front_end.mean,
        "std": front_end.std,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }


def _check_head(head: nn.Module, eps: float) -> None:
    """Raises UserError unless it is a LayerNorm and a linear map."""
    if not isinstance(head, NormedHead):
        no_form(f"{type(head).__name__} in AST, whose head is a NormedHead")
    norm = head.norm
    if not isinstance(norm, nn.LayerNorm) or norm.bias is None or head.linear.bias is None:
        no_form("head without biases, or with a norm other than LayerNorm")
    if norm.eps != eps:
        log.warning(
            "transformers' AST has one eps for all norms: the head's, %g, is written as the tower's, %g, which moves "
            "logits by about the difference",
            norm.eps, eps,
        )  # fmt: skip
