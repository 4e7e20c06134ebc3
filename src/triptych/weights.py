"""Starts a model from somebody's weights."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from triptych.checkpoints.inflate import inflate
from triptych.checkpoints.load import load
from triptych.errors import UserError
from triptych.models.classifier import Classifier
from triptych.models.contrastive import Contrastive
from triptych.nn.patch import PatchEmbedding
from triptych.towers.audio import AudioTower

log = logging.getLogger("triptych.weights")

HEAD = "head."
_SHOWN = 4


@dataclass(frozen=True)
class Fit:
    """Which weights of a model came from where, by name."""

    loaded: list[str]
    resized: list[str]
    """Taken over for other channels."""
    new: list[str]
    """As they were initialised."""
    unused: list[str]
    """What the given model has and this one has not."""

    def __str__(self) -> str:
        parts = {"loaded": self.loaded, "resized": self.resized, "new": self.new, "unused": self.unused}
        counts = [f"{len(self.loaded)} loaded"]
        counts += [
            f"{len(names)} {what} ({_some(names)})" for what, names in parts.items() if what != "loaded" and names
        ]
        return ", ".join(counts)


def start_from(model: nn.Module, path: str | Path, allow: tuple[str, ...] = ()) -> Fit:
    """Copies the weights of a checkpoint into `model`, which must be the same model, or an audio model that an image
    model fits (see `inflate`).

    A head for another number of classes stays new; anything else that does not fit is an error, for a model half of
    whose weights were silently left out would train all the same.

    Raises:
        UserError: the weights do not fit the model; the first misfit is named with both shapes.
    """
    given = load(path, allow=allow)
    if hears(model) and sees(given):
        found = inflate(cast(Classifier, model), cast(Classifier | Contrastive, given))
        log.info("weights of %s: %s", path, found)
        return Fit([], [], [], [])
    fit, state = fit_weights(given, model)
    theirs, own = given.state_dict(), model.state_dict()
    for name in (*fit.resized, *(name for name in fit.new if not name.startswith(HEAD))):
        there = tuple(theirs[name].shape) if name in theirs else "missing"
        raise UserError(
            f"weights={path} do not fit this model: {name} is {there} there and {tuple(own[name].shape)} here. "
            "Choose the model that the weights were trained with, or `triptych finetune`, which fits them"
        )
    extra = [name for name in fit.unused if not name.startswith(HEAD)]
    if extra:
        raise UserError(f"weights={path} hold {extra[0]} and {len(extra) - 1} more weights that this model lacks")
    model.load_state_dict(state)
    log.info("weights of %s: %s", path, fit)
    return fit


def hears(model: nn.Module) -> bool:
    """Whether a model is a classifier of sounds."""
    return isinstance(model, Classifier) and isinstance(model.tower, AudioTower)


def sees(model: nn.Module) -> bool:
    """Whether a model reads images."""
    if isinstance(model, Contrastive):
        return "image" in model.modalities
    return isinstance(model, Classifier) and not isinstance(model.tower, AudioTower)


def adapt_from(model: nn.Module, given: nn.Module, keep_head: bool) -> Fit:
    """Copies the weights of `given` into `model`, which may have other channels and classes."""
    fit, state = fit_weights(given, model, keep_head)
    model.load_state_dict(state)
    return fit


def fit_weights(given: nn.Module, model: nn.Module, keep_head: bool = True) -> tuple[Fit, dict[str, Tensor]]:
    """The state that `model` gets from `given`, and what became of each weight.

    Patches of grey pictures are made of those of coloured ones by adding up the channels, and the other way round by
    spreading them, so that a grey picture gives the same tokens. For other sizes see `triptych.checkpoints.resize`.
    """
    theirs, own = given.state_dict(), model.state_dict()
    changed = _recoloured(given, model)
    state, loaded, resized, new = dict(own), [], [], []
    for name, tensor in own.items():
        if name.startswith(HEAD) and not keep_head:
            new.append(name)
        elif name in theirs and theirs[name].shape == tensor.shape and name not in changed:
            state[name] = theirs[name]
            loaded.append(name)
        elif name in changed and changed[name].shape == tensor.shape:
            state[name] = changed[name]
            resized.append(name)
        else:
            new.append(name)
    taken = {*loaded, *resized}
    return Fit(loaded, resized, new, [name for name in theirs if name not in taken and name not in own]), state


def _pairs(given: nn.Module, model: nn.Module, kind: type[nn.Module]) -> list[tuple[str, Any, Any]]:
    theirs = dict(given.named_modules())
    return [
        (path, cast(Any, theirs[path]), cast(Any, module))
        for path, module in model.named_modules()
        if isinstance(module, kind) and isinstance(theirs.get(path), kind)
    ]


@torch.no_grad()
def _recoloured(given: nn.Module, model: nn.Module) -> dict[str, Tensor]:
    found = {}
    for path, old, new in _pairs(given, model, PatchEmbedding):
        if old.channels == new.channels:
            continue
        weight = old.projection.weight.unflatten(1, (old.channels, -1)).sum(1, keepdim=True) / new.channels
        found[f"{path}.projection.weight"] = weight.expand(-1, new.channels, -1).flatten(1)
    return found


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
