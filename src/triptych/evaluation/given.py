"""A trained model and what it must know of itself to be used: its classes, its preprocessing, its kind of labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from triptych.checkpoints.find import BEST, LAST, find_checkpoint, is_checkpoint, is_run
from triptych.checkpoints.load import load
from triptych.errors import UserError
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.preprocess import Preprocess
from triptych.models.contrastive import Contrastive


@dataclass(frozen=True)
class GivenModel:
    """A classifier from a checkpoint.

    Args:
        model: in evaluation mode.
        path: the checkpoint folder that was read.
        classes: names of its outputs; None where nothing tells them.
        multi_label: whether its outputs are decided one by one; None where the checkpoint does not say.
        preprocess: what it wants of its input.
    """

    model: nn.Module
    path: Path
    classes: list[str] | None
    multi_label: bool | None
    preprocess: Preprocess | AudioPreprocess


def load_given(checkpoint: dict[str, Any], allow: tuple[str, ...] = ()) -> GivenModel:
    """The model that the settings of a checkpoint (`path`, `weights`, `classes`) name.

    Raises:
        UserError: what `triptych.load` raises; a model that is no classifier of images; names that do not fit it.
    """
    path = checkpoint_at(Path(checkpoint["path"]))
    return known_of(load(path, weights=checkpoint["weights"], allow=allow), path, checkpoint["classes"])


def known_of(model: nn.Module, path: Path, names: str | None) -> GivenModel:
    """What a loaded classifier knows of itself; `names` is a file with a class a line, where it knows none.

    Raises:
        UserError: see `load_given`.
    """
    preprocess, outputs = getattr(model, "preprocess", None), getattr(model, "num_classes", None)
    if not isinstance(preprocess, Preprocess | AudioPreprocess) or not isinstance(outputs, int):
        raise UserError(
            f"{path} holds a {type(model).__name__}, and only classifiers can be used here"
            + (": ask it with `triptych zero_shot`" if isinstance(model, Contrastive) else "")
        )
    config = getattr(model, "config", None) or {}
    classes = config.get("classes")
    if names is not None:
        classes = _names(Path(names), classes)
    if classes is not None and len(classes) != outputs:
        source = names or path
        raise UserError(f"{source} names {len(classes)} classes, and the model in {path} has {outputs} outputs")
    return GivenModel(model, path, classes, config.get("multi_label"), preprocess)


def checkpoint_at(path: Path) -> Path:
    """The checkpoint folder that a path of ours means, the best one of a run; any other path as it is.

    Raises:
        UserError: the checkpoint is damaged.
    """
    if is_run(path) or is_checkpoint(path) or (path.is_symlink() and path.name in (BEST, LAST)):
        return find_checkpoint(path, prefer=(BEST, LAST))
    return path


def _names(file: Path, known: list[str] | None) -> list[str]:
    if known is not None:
        raise UserError(f"checkpoint.classes={file} is not needed: the checkpoint names its classes. Leave it out")
    try:
        names = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"checkpoint.classes={file} cannot be read: {reason}") from error
    names = [name.strip() for name in names if name.strip()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"checkpoint.classes={file} names the class {twice!r} twice; each output has a name of its own")
    return names


def device_of(accelerator: str, place: int = 0) -> torch.device:
    """The device of a setting, the `place`-th of its kind.

    Raises:
        UserError: the machine has none.
    """
    cuda, mps = torch.cuda.device_count() if torch.cuda.is_available() else 0, torch.backends.mps.is_available()
    if accelerator == "gpu" or (accelerator == "auto" and cuda):
        if place >= cuda:
            raise UserError(
                f"device {place + 1} of device.accelerator={accelerator} is asked for, and this machine has {cuda} "
                "CUDA devices: lower devices, or set device.accelerator=cpu"
            )
        return torch.device("cuda", place)
    if accelerator == "mps" and not mps:
        raise UserError("device.accelerator=mps, and this machine has no such device: set device.accelerator=cpu")
    return torch.device("mps" if accelerator == "mps" or (accelerator == "auto" and mps) else "cpu")
