"""Plain ViTs as timm's hub writer saves them (``config.json`` beside ``model.safetensors`` or ``pytorch_model.bin``):
in and out.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from triptych.build import MODEL_PACKAGES, build
from triptych.checkpoints.files import new_folder, write_file
from triptych.checkpoints.remap import check_keys, export_state, import_state
from triptych.checkpoints.tensors import safetensors_chunks
from triptych.checkpoints.timm_config import describe, preprocess_of
from triptych.checkpoints.timm_export import timm_config
from triptych.checkpoints.timm_rules import rules
from triptych.errors import UserError
from triptych.features.preprocess import Preprocess
from triptych.models.classifier import Classifier

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def is_timm(path: str | Path) -> bool:
    """True for a folder that timm's hub writer made, or for a weights file in one."""
    config = _folder(Path(path)) / CONFIG
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and isinstance(found.get("architecture"), str)


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and the weights that lie at ``path``, a folder or a weights file in one; nothing is unpickled that
    needs code.

    Raises UserError where one is missing or damaged.
    """
    path = Path(path)
    folder = _folder(path)
    candidates = [path] if path.is_file() and path.name != CONFIG else [folder / name for name in WEIGHTS]
    weights = next((candidate for candidate in candidates if candidate.is_file()), None)
    if not is_timm(path):
        raise UserError(f"{folder} has no {CONFIG} that names a timm architecture.")
    if weights is None:
        raise UserError(f"{folder} has a timm {CONFIG} but no weights; expected {' or '.join(WEIGHTS)} beside it.")
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return config, _read_weights(weights)


def load_timm(path: str | Path, num_classes: int | None = None) -> Classifier:
    """The classifier saved at ``path``, built from its config and filled strictly, in evaluation mode.

    ``num_classes`` gives it a fresh head where it differs from the saved one. ``model.config`` holds our own
    description of the model, ``model.preprocess`` what it wants of images.

    Raises UserError where the model is no plain ViT, is damaged, or has no head while ``num_classes`` is None.
    """
    config, state = read(path)
    headless = "head.weight" not in state
    if headless and num_classes is None:
        raise UserError(
            f"The timm model in {path} has no head (num_classes=0); say how many classes the new head shall have."
        )
    model_config, shape = describe(config, state)
    tower = model_config["tower"]
    settings = preprocess_of(config, tuple(tower["image_size"]), tower["patch"]["channels"])
    model = build(model_config, MODEL_PACKAGES)
    assert isinstance(model, Classifier)
    own = import_state(rules(shape), state)
    if headless:
        own |= {f"head.{name}": tensor for name, tensor in model.head.state_dict().items()}
    check_keys(own, model.state_dict(), str(path))
    model.load_state_dict(own)
    if num_classes is not None and num_classes != model.num_classes:
        model.reset_head(num_classes)
    model_config["num_classes"] = model.num_classes
    model.preprocess = Preprocess.from_dict(settings)
    model.config = {"model": model_config, "preprocess": settings}
    return model.eval()


def save_timm(model: nn.Module, path: str | Path) -> None:
    """Writes a classifier as a new folder that timm reads (``timm.create_model("local-dir:PATH", pretrained=True)``).

    Raises UserError where timm's plain ViT has no such part (naming it), or ``path`` exists.
    """
    if not isinstance(model, Classifier):
        raise UserError(f"Only a Classifier has a form in timm, not a {type(model).__name__}.")
    config, shape = timm_config(model)
    state = export_state(rules(shape), model.state_dict())
    with new_folder(Path(path)) as staging:
        write_file(staging / WEIGHTS[0], safetensors_chunks(state))
        write_file(staging / CONFIG, [json.dumps(config, indent=2).encode()])


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise UserError(
            f"{path} is refused: reading it would run code that it brings along. Save the model again as safetensors."
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError) as error:
        raise UserError(f"{path} cannot be read as weights; the file is damaged or cut short ({error}).") from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{path} holds no plain state dict (names to tensors).")
    return dict(found)
