"""Weights of an image model for an audio model: a spectrogram is a picture of one channel (Gong et al., 2021)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from triptych.build import MODEL_PACKAGES, build
from triptych.checkpoints.remap import import_state
from triptych.checkpoints.timm import describe
from triptych.checkpoints.timm_any import any_config
from triptych.errors import UserError
from triptych.models.classifier import Classifier
from triptych.models.contrastive import Contrastive
from triptych.nn.patch import resample_patches
from triptych.nn.pool import DistilledPool, PrefixMeanPool
from triptych.nn.position import LearnedPosition, LearnedRotaryPosition
from triptych.nn.time_position import transfer_grid
from triptych.towers.audio import AudioTower
from triptych.towers.timm import TimmTower
from triptych.towers.vision import VisionTower

BLOCKS = "stack.blocks."


@dataclass(frozen=True)
class Inflated:
    """What an audio tower took from an image tower, and what it kept of its own, a line each."""

    taken: tuple[str, ...]
    kept: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join([*self.taken, *(f"as it was: {what}" for what in self.kept)])


@torch.no_grad()
def inflate(audio: Classifier, image: Classifier | Contrastive) -> Inflated:
    """Fills the tower of ``audio`` in place with the weights of an image tower: of a classifier, or of a contrastive
    model that has one. Heads and pools stay as they are.

    As AST does it: the kernels of a patch are summed over the channels (and resampled to the audio tower's patches
    where these are of another size, by `resample_patches`); of a grid of learned positions each axis is cut to its
    middle where the audio tower's is smaller and stretched where it is larger (`transfer_grid`); blocks and norms are
    taken one to one; patches without a bias, as CLIP has them, give a bias of zero. The class token becomes the class
    token, and the distillation token the distillation token, or a copy of the class token where the image tower has
    none. Positions that are not learned have nothing to take.

    Raises UserError, naming both values, where the towers differ in width, depth, heads, or a part of a block; nothing
    is changed then.
    """
    source, target = _image_tower(image), audio.tower
    if not isinstance(target, AudioTower):
        raise UserError(f"Only an AudioTower takes the weights of an image model, not a {type(target).__name__}.")
    _check_alike(source, target)
    taken, kept = ["blocks and norms one to one"], ["pool", "head"]
    new = {name: tensor for name, tensor in source.state_dict().items() if name.startswith(BLOCKS)}
    new |= _norm(source, target, kept)
    new |= {f"input_norm.{name}": tensor for name, tensor in source.input_norm.state_dict().items()}
    new |= _patches(source, target, taken)
    new |= _positions(source, target, taken, kept)
    new |= _tokens(source, target, taken, kept)
    own = target.state_dict()
    for name, tensor in new.items():
        assert own[name].shape == tensor.shape, name
        own[name].copy_(tensor)
    return Inflated(tuple(taken), tuple(kept))


def _image_tower(model: Classifier | Contrastive) -> VisionTower:
    if isinstance(model, Contrastive) and "image" not in model.modalities:
        raise UserError(f"This contrastive model has no image tower, but {', '.join(model.modalities)}.")
    tower: Any = model.towers["image"] if isinstance(model, Contrastive) else model.tower
    if isinstance(tower, TimmTower):
        return _ours(tower)
    if not isinstance(tower, VisionTower):
        raise UserError(f"The weights of an image model are wanted, and this one has a {type(tower).__name__}.")
    return tower


def _ours(tower: TimmTower) -> VisionTower:
    """A tower that is timm's own as ours. Raises UserError where it has a part that we have not."""
    config, state = any_config(Classifier(tower, 0))
    described = describe(config, state)
    made = build(described.model, MODEL_PACKAGES)
    made.load_state_dict(import_state(described.rules, {k: v for k, v in state.items() if k not in described.unread}))
    return made.tower


def _check_alike(source: VisionTower, target: AudioTower) -> None:
    theirs, own = _facts(source), _facts(target)
    for name, value in theirs.items():
        if value != own[name]:
            raise UserError(
                f"The image tower has {name}={value} and the audio tower {name}={own[name]}: weights go from one to "
                f"the other only where both are alike. Give the audio model {name}={value}, or take another image "
                "model."
            )
    shapes, wanted = (
        {name: tuple(tensor.shape) for name, tensor in tower.state_dict().items() if name.startswith(BLOCKS)}
        for tower in (source, target)
    )
    for name in sorted(shapes.keys() | wanted.keys()):
        if shapes.get(name) != wanted.get(name):
            raise UserError(
                f"The blocks differ: {name} is {shapes.get(name, 'missing')} in the image tower and "
                f"{wanted.get(name, 'missing')} in the audio tower."
            )


def _facts(tower: VisionTower | AudioTower) -> dict[str, Any]:
    """What must be alike."""
    block: Any = tower.stack.blocks[0]
    return {
        "dim": tower.dim,
        "depth": len(tower.stack.blocks),
        "mixer": type(block.mixer).__name__,
        "heads": getattr(block.mixer, "heads", None),
        "feedforward": type(block.feedforward).__name__,
        "hidden_dim": block.feedforward.down.in_features if hasattr(block.feedforward, "down") else None,
        "approximate": getattr(block.feedforward, "approximate", None),
        "norm": type(block.mixer_norm).__name__,
        "layer_scale": block.mixer_scale is not None,
        "input_norm": type(tower.input_norm).__name__,
    }


def _norm(source: VisionTower, target: AudioTower, kept: list[str]) -> dict[str, Tensor]:
    """The last norm, which may stand in the pool."""
    norms, places = [], []
    for tower in (source, target):
        pool: Any = tower.pool
        norms.append(pool.norm if pool.norm_after else tower.stack.norm)
        places.append("pool.norm" if pool.norm_after else "stack.norm")
    if any(isinstance(norm, nn.Identity) for norm in norms):
        kept.append("final norm, which only one of both has")
        return {}
    return {f"{places[1]}.{name}": tensor for name, tensor in norms[0].state_dict().items()}


def _patches(source: VisionTower, target: AudioTower, taken: list[str]) -> dict[str, Tensor]:
    for tower, name in ((source, "image"), (target, "audio")):
        if not tower.patch.linear:
            raise UserError(
                f"The {name} tower's patches go through convolutions, which have no like in the other tower."
            )
    old, new = source.patch.patch_size, target.patch.patch_size
    weight = source.patch.projection.weight.unflatten(1, (source.channels, -1)).sum(1)
    how = "" if old == new else f", resampled from {old[0]} x {old[1]} to {new[0]} x {new[1]}"
    taken.append(f"patch kernels summed over {source.channels} channels{how}")
    made = {"patch.projection.weight": resample_patches(weight, old, new)}
    bias, own = source.patch.projection.bias, target.patch.projection.bias
    if own is None and bias is not None:
        raise UserError(
            "The image tower's patches have a bias and the audio tower's have none: give them patch.bias=true."
        )
    return made if own is None else made | {"patch.projection.bias": torch.zeros_like(own) if bias is None else bias}


def _learned(tower: VisionTower | AudioTower) -> LearnedPosition | None:
    """The learned table of a tower, where it has one."""
    position = tower.position.learned if isinstance(tower.position, LearnedRotaryPosition) else tower.position
    return position if isinstance(position, LearnedPosition) else None


def _positions(source: VisionTower, target: AudioTower, taken: list[str], kept: list[str]) -> dict[str, Tensor]:
    theirs, own = _learned(source), _learned(target)
    if own is None:
        return {}
    if theirs is None:
        kept.append(f"learned positions, for the image tower has {type(source.position).__name__}")
        return {}
    (rows, columns), (bands, moments) = theirs.built_grid, own.built_grid
    taken.append(f"positions of {rows} x {columns} patches to {bands} bands x {moments} moments")
    name = "position.places" if own is target.position else "position.learned.places"
    return {name: transfer_grid(theirs.places, (rows, columns), (bands, moments))}


def _tokens(source: VisionTower, target: AudioTower, taken: list[str], kept: list[str]) -> dict[str, Tensor]:
    """Class token and distillation token, with their positions apart or added, as each tower has it."""
    if target.class_token is None:
        return {}
    if source.class_token is None:
        kept.append("class token, for the image tower has none")
        return {}
    theirs, own = _learned(source), _learned(target)
    places = None if theirs is None else theirs.prefix_places
    wanted = [0]
    if target.registers is not None and isinstance(target.pool, PrefixMeanPool | DistilledPool):
        distilled = isinstance(source.pool, DistilledPool)
        wanted.append(int(distilled))
        taken.append(f"{'distillation token' if distilled else 'class token'} to distillation token")
    taken.append("class token to class token")
    prefix = source.class_token if source.registers is None else torch.cat([source.class_token, source.registers])
    tokens = prefix[wanted]
    offsets = torch.zeros_like(tokens) if places is None else places[wanted]
    made: dict[str, Tensor] = {}
    if own is None or own.prefix_places is None:
        tokens = tokens + offsets
    else:
        table = own.prefix_places.clone()
        table[: len(wanted)] = offsets
        made["position.prefix_places" if own is target.position else "position.learned.prefix_places"] = table
    made["class_token"] = tokens[:1]
    if target.registers is not None and len(wanted) > 1:
        made["registers"] = torch.cat([tokens[1:], target.registers[1:]])
    return made
