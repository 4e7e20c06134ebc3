"""CLIP and SigLIP as open_clip saves them, and OpenAI's CLIP: in and out, without that library.

A folder has ``open_clip_config.json`` beside its weights. A training file (``epoch_10.pt``) nests them under
``state_dict``, with ``module.`` before each name where it was trained on several devices. OpenAI's own files are
TorchScript archives, of which the tensors are read and the code is not.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from triptych.checkpoints.files import new_folder, write_file
from triptych.checkpoints.foreign import CONFIG, Described, assemble_pair, folder_of, read_json, read_tensors
from triptych.checkpoints.open_clip_config import OPENAI_NUMBERS, describe, infer
from triptych.checkpoints.open_clip_export import express
from triptych.checkpoints.remap import export_state
from triptych.checkpoints.tensors import safetensors_chunks
from triptych.checkpoints.tokenizer_files import tokenizer_files
from triptych.checkpoints.torch_archive import is_torchscript, names_of, read_torchscript
from triptych.errors import UserError
from triptych.models.contrastive import Contrastive

log = logging.getLogger("triptych.checkpoints")

OPEN_CLIP_CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
SUFFIXES = (".pt", ".pth", ".bin")
# Weights that tell a CLIP of this naming.
TELLING = ("visual.conv1.weight", "visual.trunk.")
PARAMS = "params.txt"


def is_open_clip(path: str | Path) -> bool:
    """True for a folder with an ``open_clip_config.json``, a weights file in one, a training file of open_clip, or
    OpenAI's own file. Nothing is unpickled to find out.
    """
    path = Path(path)
    if read_json(folder_of(path) / OPEN_CLIP_CONFIG) is not None:
        return True
    alone = path.is_file() and path.suffix in SUFFIXES and not (path.parent / CONFIG).is_file()
    return alone and (is_torchscript(path) or any(name in names_of(path) for name in TELLING))


def read(path: str | Path) -> tuple[Described, dict[str, Tensor]]:
    """What lies at ``path`` in our terms, and its weights under their own names.

    Raises UserError where it has a part that we have not, or a file is missing or damaged.
    """
    path = Path(path)
    folder = folder_of(path)
    file = path if path.is_file() and path.suffix != ".json" else _weights_in(folder)
    state = _plain(read_torchscript(file) if is_torchscript(file) else read_tensors(file))
    config = read_json(folder / OPEN_CLIP_CONFIG)
    if config is None:
        config = infer(state, _quick_gelu(file, state))
    elif not isinstance(config.get("model_cfg"), dict):
        raise UserError(f"{folder / OPEN_CLIP_CONFIG} has no model_cfg, which says what the model is.")
    return describe(config, state, folder), state


def load_open_clip(path: str | Path, num_classes: int | None = None) -> Contrastive:
    """The model saved at ``path``, filled strictly, in float32 and evaluation mode. Raises UserError: see `read`."""
    described, state = read(path)
    return assemble_pair(described, state, Path(path), num_classes)


def save_open_clip(model: nn.Module, path: str | Path) -> None:
    """Writes a contrastive model as a new folder that open_clip loads
    (``open_clip.create_model_and_transforms("local-dir:PATH")``).

    Raises UserError, naming the part, where open_clip has none like it, or ``path`` exists.
    """
    if not isinstance(model, Contrastive):
        raise UserError(f"Only a contrastive model has a form in open_clip, not a {type(model).__name__}.")
    config, rules = express(model)
    state = export_state(rules, model.state_dict())
    files = {} if "hf_tokenizer_name" not in config["model_cfg"]["text_cfg"] else tokenizer_files(model.tokenizer)
    with new_folder(Path(path)) as staging:
        write_file(staging / WEIGHTS[0], safetensors_chunks(state))
        write_file(staging / OPEN_CLIP_CONFIG, [json.dumps(config, indent=2).encode()])
        for name, content in files.items():
            write_file(staging / name, [content])


def _weights_in(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder} has an {OPEN_CLIP_CONFIG} but no weights; expected {' or '.join(WEIGHTS)} beside it.")


def _plain(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights under their plain names, in float32, whatever they were nested in."""
    nested = state.get("state_dict")
    found = nested if isinstance(nested, Mapping) else state
    return {
        name.removeprefix("module."): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in found.items()
        if isinstance(tensor, Tensor)
    }


def _quick_gelu(file: Path, state: Mapping[str, Tensor]) -> bool:
    """Whether the activation is quick GELU, as far as can be known: OpenAI's is; a training file has open_clip's list
    of settings beside its folder.
    """
    if is_torchscript(file) or any(name in state for name in OPENAI_NUMBERS):
        return True
    params = file.resolve().parent.parent / PARAMS
    if params.is_file():
        lines = dict(line.split(": ", 1) for line in params.read_text(encoding="utf-8").splitlines() if ": " in line)
        return "quickgelu" in lines.get("model", "").lower() or lines.get("force_quick_gelu") == "True"
    log.warning(
        "nothing beside %s says which activation it was trained with; exact GELU is assumed. Where it was quick GELU, "
        'put an %s there, with {"model_cfg": {"quick_gelu": true, ...}}',
        file, OPEN_CLIP_CONFIG,
    )  # fmt: skip
    return False
