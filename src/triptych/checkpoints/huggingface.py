"""Vision models, AST, CLIP and SigLIP as the transformers library saves them (``config.json``, ``model.safetensors``
and ``preprocessor_config.json`` in one folder): in and out, without that library.

A family is a module with ``describe`` and ``express``; `FAMILIES` says which one reads a ``model_type``, and the first
whose ``fits`` agrees writes a model.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from triptych.checkpoints import (
    huggingface_ast,
    huggingface_dinov2,
    huggingface_pair,
    huggingface_siglip,
    huggingface_vit,
)
from triptych.checkpoints.files import new_folder, write_file
from triptych.checkpoints.foreign import (
    CONFIG,
    WEIGHTS,
    Described,
    assemble,
    assemble_pair,
    folder_of,
    read_json,
    read_weights,
)
from triptych.checkpoints.huggingface_common import PREPROCESSOR, Expressed, class_names, id2label, no_form
from triptych.checkpoints.huggingface_pair_export import express as express_pair
from triptych.checkpoints.huggingface_preprocess import preprocess_from, preprocessor_of
from triptych.checkpoints.remap import export_state
from triptych.checkpoints.tensors import safetensors_chunks
from triptych.checkpoints.tokenizer_files import tokenizer_files
from triptych.errors import UserError
from triptych.models.classifier import Classifier
from triptych.models.contrastive import Contrastive
from triptych.nn.block import Block
from triptych.towers.audio import AudioTower
from triptych.towers.patches import PatchTower
from triptych.towers.vision import VisionTower


@dataclass(frozen=True)
class Family:
    """One family of transformers' models."""

    describe: Callable[[Mapping[str, Any], Mapping[str, Tensor], dict[str, Any]], Described]
    """Configuration, weights and preprocessing in; the model in our terms out."""
    fits: Callable[[Any, Block], bool]
    """Whether it is this family that a ``tower`` of ours, with this block, is written as."""
    express: Callable[[Classifier, Any, Block], Expressed]
    """The configuration and names of a model of ours; UserError, naming it, where a part has no form there."""
    tower: type[PatchTower] = VisionTower
    """The towers that it is for."""
    read_preprocess: Callable[[Mapping[str, Any], Path], dict[str, Any]] = preprocess_from
    """The content of ``preprocessor_config.json``, and where it lies, to what ``describe`` takes."""
    write_preprocess: Callable[[Classifier], dict[str, Any]] = lambda model: preprocessor_of(model.preprocess)
    """A model of ours to the content of ``preprocessor_config.json``."""


VIT = Family(huggingface_vit.describe, huggingface_vit.fits, huggingface_vit.express)
DINOV2 = Family(huggingface_dinov2.describe, huggingface_dinov2.fits, huggingface_dinov2.express)
SIGLIP = Family(huggingface_siglip.describe, huggingface_siglip.fits, huggingface_siglip.express)
AST = Family(
    huggingface_ast.describe, huggingface_ast.fits, huggingface_ast.express, AudioTower, huggingface_ast.front_end_from,
    huggingface_ast.extractor_of,
)  # fmt: skip
FAMILIES: dict[str, Family] = {
    "vit": VIT,
    "deit": VIT,
    "dinov2": DINOV2,
    "dinov2_with_registers": DINOV2,
    "siglip_vision_model": SIGLIP,
    "siglip": SIGLIP,
    huggingface_ast.KIND: AST,
}


def is_huggingface(path: str | Path) -> bool:
    """True for a folder that transformers' ``save_pretrained`` made, or for a weights file in one."""
    config = read_json(folder_of(Path(path)) / CONFIG)
    return config is not None and isinstance(config.get("model_type"), str)


def read(path: str | Path) -> tuple[Described, dict[str, Tensor]]:
    """What lies at ``path``, a folder or a weights file in one, in our terms, and its weights under their own names.

    Raises UserError where the model is of no family that we read, or a file is missing or damaged.
    """
    folder = folder_of(Path(path))
    config = read_json(folder / CONFIG)
    if config is None or not is_huggingface(path):
        raise UserError(f"{folder} has no {CONFIG} that names a model_type of transformers.")
    kind = config["model_type"]
    if kind not in FAMILIES and kind != huggingface_pair.CLIP:
        raise UserError(
            f"{folder} holds a transformers model of model_type={kind!r}; Triptych reads {', '.join(FAMILIES)}, "
            f"{huggingface_pair.CLIP}."
        )
    state = read_weights(Path(path))
    settings = read_json(folder / PREPROCESSOR)
    family = FAMILIES.get(kind)
    read_preprocess = preprocess_from if family is None else family.read_preprocess
    preprocess = {} if settings is None else read_preprocess(settings, folder / PREPROCESSOR)
    if huggingface_pair.is_pair(config, state):
        return huggingface_pair.describe(config, state, preprocess, folder), state
    if family is None:
        raise UserError(f"{folder} holds one tower of a {kind} alone; Triptych reads both together (CLIPModel).")
    described = family.describe(config, state, preprocess)
    classes = class_names(config) if described.model["num_classes"] else None
    return replace(described, classes=classes), state


def load_huggingface(path: str | Path, num_classes: int | None = None) -> Classifier | Contrastive:
    """The model saved at ``path``, filled strictly, in evaluation mode: a contrastive one where there are two towers,
    else a classifier. A bare model (``Dinov2Model``) comes without a head; ``num_classes`` gives it a fresh one where
    it differs from the saved one.

    Raises UserError: see `read`.
    """
    described, state = read(path)
    if "towers" in described.model:
        return assemble_pair(described, state, Path(path), num_classes)
    return assemble(described, state, Path(path), num_classes)


def save_huggingface(model: nn.Module, path: str | Path) -> None:
    """Writes a model as a new folder that transformers loads: ``AutoModelForImageClassification`` or
    ``AutoModelForAudioClassification``, without a head or with two towers ``AutoModel``; ``AutoImageProcessor`` or
    ``AutoFeatureExtractor``, ``AutoTokenizer``.

    Raises UserError, naming the part, where no family has one like it, or ``path`` exists.
    """
    if isinstance(model, Contrastive):
        if model.preprocess is None:
            raise UserError("A contrastive model without a tower of images has no form in transformers.")
        expressed, processor = express_pair(model), preprocessor_of(model.preprocess)
        extra = tokenizer_files(model.tokenizer)
    else:
        expressed, processor, extra = *_express(model), {}
    config = {**expressed.config, "dtype": "float32"}
    state = export_state(expressed.rules, model.state_dict()) | expressed.unread
    with new_folder(Path(path)) as staging:
        write_file(staging / WEIGHTS[0], safetensors_chunks(state))
        write_file(staging / CONFIG, [json.dumps(config, indent=2).encode()])
        write_file(staging / PREPROCESSOR, [json.dumps(processor, indent=2).encode()])
        for name, content in extra.items():
            write_file(staging / name, [content])


def _express(model: nn.Module) -> tuple[Expressed, dict[str, Any]]:
    if not isinstance(model, Classifier) or not isinstance(model.tower, VisionTower | AudioTower):
        what = type(model.tower).__name__ if isinstance(model, Classifier) else type(model).__name__
        raise UserError(
            f"Only a Classifier over a VisionTower or an AudioTower has a form in transformers, not a {what}."
        )
    tower = model.tower
    block = tower.stack.blocks[0]
    assert isinstance(block, Block)
    if not isinstance(tower.input_norm, nn.Identity):
        no_form("norm before the first block in a classifier")
    families = (SIGLIP, DINOV2, VIT, AST)
    family = next(each for each in families if isinstance(tower, each.tower) and each.fits(tower, block))
    expressed = family.express(model, tower, block)
    return replace(expressed, config={**expressed.config, **id2label(model)}), family.write_preprocess(model)
