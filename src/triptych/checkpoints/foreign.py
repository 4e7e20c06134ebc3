"""What every foreign family shares: reading its files, and building our model from what they say."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from triptych.checkpoints.bounded import build_bounded
from triptych.checkpoints.remap import Rule, check_keys, import_state
from triptych.checkpoints.torch_archive import check_archive, check_tensors
from triptych.errors import UserError
from triptych.features.audio_preprocess import preprocess_from_dict
from triptych.models.classifier import Classifier
from triptych.models.contrastive import Contrastive
from triptych.plain import LARGEST_TEXT, check_bounds, read_bytes

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"


@dataclass(frozen=True)
class Described:
    """A foreign model in our terms: the plain configuration of a `Classifier` (``num_classes`` 0 where it has no head)
    or a `Contrastive`, how its names become ours, what it wants of images, and the names of its classes where it tells
    them.
    """

    model: dict[str, Any]
    rules: list[Rule]
    preprocess: dict[str, Any]
    classes: list[str] | None = None
    unread: tuple[str, ...] = ()
    """Weights that no output which we compute depends on, such as the mask of pre-training."""


def part(target: str, **settings: Any) -> dict[str, Any]:
    """The configuration of a part of ``triptych.nn``, made by a factory."""
    return {"_target_": f"triptych.nn.{target}", "_partial_": True, **settings}


def folder_of(path: Path) -> Path:
    """The folder that a path means, which may be a file in it."""
    return path if path.is_dir() else path.parent


def read_json(path: Path) -> dict[str, Any] | None:
    """A mapping from a JSON file; None where there is no such file, or it holds something else."""
    if not path.exists():
        return None
    try:
        found = json.loads(read_bytes(path, LARGEST_TEXT))
        check_bounds(found, path)
    except (OSError, ValueError, RecursionError, UserError):
        return None
    return found if isinstance(found, dict) else None


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights at ``path``, a weights file or a folder with one (or with several and an index, as large models
    have); nothing is unpickled that needs code.

    Raises UserError where they are missing or damaged.
    """
    folder = folder_of(path)
    if path.is_file() and path.suffix != ".json":
        return _read_file(path)
    for name in WEIGHTS:
        if (folder / name).is_file():
            return _read_file(folder / name)
        index = read_json(folder / f"{name}{INDEX}")
        if index is not None:
            return _read_shards(folder, f"{name}{INDEX}", index)
    raise UserError(f"{folder} has a {CONFIG} but no weights; expected {' or '.join(WEIGHTS)} beside it.")


def assemble(described: Described, state: Mapping[str, Tensor], source: Path, num_classes: int | None) -> Classifier:
    """The classifier that ``described`` tells of, filled strictly, in evaluation mode. ``num_classes`` gives it a fresh
    head where it differs from the saved one.

    Raises UserError where a weight has no place, or a place no weight.
    """
    model = fill(described, state, source)
    assert isinstance(model, Classifier)
    assert model.config is not None
    if described.classes is not None:
        model.config["classes"] = described.classes
    if num_classes is not None and num_classes != model.num_classes:
        model.reset_head(num_classes)
        model.config.pop("classes", None)
    model.config["model"]["num_classes"] = model.num_classes
    return model


def assemble_pair(
    described: Described, state: Mapping[str, Tensor], source: Path, num_classes: int | None
) -> Contrastive:
    """The contrastive model that ``described`` tells of, filled strictly, in evaluation mode.

    Raises UserError where a weight has no place, or a place no weight, and for ``num_classes``: it has no head.
    """
    model = fill(described, state, source)
    assert isinstance(model, Contrastive)
    if num_classes is not None:
        raise UserError(f"{source} holds a contrastive model, which has no head; leave num_classes out.")
    return model


def fill(described: Described, state: Mapping[str, Tensor], source: Path) -> Classifier | Contrastive:
    """The model that ``described`` tells of, with its weights, config and preprocessing, in evaluation mode.

    Raises UserError: see `assemble`.
    """
    model = build_bounded(described.model, state, source=source)
    assert isinstance(model, Classifier | Contrastive)
    own = import_state(described.rules, {key: state[key] for key in state if key not in described.unread})
    check_keys(own, model.state_dict(), str(source))
    model.load_state_dict(own)
    model.preprocess = preprocess_from_dict(described.preprocess)
    model.config = {"model": described.model, "preprocess": described.preprocess}
    return model.eval()


def _read_shards(folder: Path, name: str, index: Mapping[str, Any]) -> dict[str, Tensor]:
    files = index.get("weight_map")
    if not isinstance(files, dict):
        raise UserError(f"{folder / name} has no weight_map, which says in which file each weight lies.")
    state: dict[str, Tensor] = {}
    for file in sorted(set(map(str, files.values()))):
        if Path(file).name != file or not (folder / file).is_file():
            raise UserError(f"{folder / name} names {file}, which is not beside it.")
        state |= _read_file(folder / file)
    return state


def _read_file(path: Path) -> dict[str, Tensor]:
    found = read_tensors(path)
    if not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{path} holds no plain state dict (names to tensors).")
    return found


def read_tensors(path: Path) -> dict[str, Any]:
    """What a weights file holds, which may be nested; nothing is unpickled that needs code.

    Raises UserError where the file is damaged, is no mapping, or brings code.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how an old or odd file was written, which is no fault of who reads it
            found = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise UserError(
            f"{path} is refused: reading it would run code that it brings along. Save the model again as safetensors."
        ) from error
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(
            f"{path} cannot be read as weights; the file is damaged or cut short ({_told(error)})."
        ) from error
    if not isinstance(found, Mapping):
        raise UserError(f"{path} holds no plain state dict (names to tensors).")
    nested = (each.values() for each in found.values() if isinstance(each, Mapping))
    check_tensors(path, chain(found.values(), *nested))
    return dict(found)


def _told(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
