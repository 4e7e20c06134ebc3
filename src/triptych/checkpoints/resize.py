"""A trained model for images or patches of another size, for good."""

import copy
from typing import Any

import torch
from torch import nn

from triptych.build import MODEL_PACKAGES, build
from triptych.errors import UserError
from triptych.features.preprocess import Preprocess
from triptych.models.classifier import Classifier
from triptych.nn.patch import Size, height_width, resample_patches
from triptych.nn.position import LearnedPosition, LearnedRotaryPosition, RotaryPosition, SinusoidalPosition
from triptych.towers.vision import VisionTower

WEIGHT = "tower.patch.projection.weight"


@torch.no_grad()
def resized(
    model: nn.Module, image_size: Size | None = None, patch_size: Size | None = None, allow: tuple[str, ...] = ()
) -> Classifier:
    """A new model of the same weights for images of ``image_size`` and patches of ``patch_size`` (pixels; None: as it
    is), with its ``config`` and ``preprocess``.

    The patch embedding is resampled by pseudo-inverse (`resample_patches`); learned positions are resampled to the new
    grid, as the tower would do for each batch; others keep the grid that they were trained with as their ``reference``.

    Raises UserError where the model does not know its config, or patches do not cover the images exactly.
    """
    config: Any = getattr(model, "config", None)
    if not isinstance(model, Classifier) or not isinstance(model.tower, VisionTower) or not isinstance(config, dict):
        raise UserError(
            "Only a Classifier over a VisionTower that knows its config (as triptych.create and triptych.load make "
            f"them) can be given another image_size or patch_size, not this {type(model).__name__}."
        )
    tower, config = model.tower, copy.deepcopy(config)
    images = tower.image_size if image_size is None else height_width(image_size)
    patches = tower.patch.patch_size if patch_size is None else height_width(patch_size)
    if patches != tower.patch.patch_size and tower.patch.stride != tower.patch.patch_size:
        raise UserError(
            f"This model's patches overlap (stride {tower.patch.stride}); their size {tower.patch.patch_size} is fixed."
        )
    if patches != tower.patch.patch_size and not tower.patch.linear:
        raise UserError(f"This model's patches go through convolutions; their size {tower.patch.patch_size} is fixed.")
    plain = config["model"]["tower"]
    plain["image_size"], plain["patch"]["patch_size"] = list(images), list(patches)
    position = tower.position
    keep_reference(position, plain)
    new = build(config["model"], (*MODEL_PACKAGES, *allow))
    assert isinstance(new, Classifier)
    assert isinstance(new.tower, VisionTower)
    state = model.state_dict()
    state[WEIGHT] = resample_patches(state[WEIGHT], tower.patch.patch_size, patches)
    if isinstance(position, LearnedPosition | LearnedRotaryPosition):
        table = "tower.position.places" if isinstance(position, LearnedPosition) else "tower.position.learned.places"
        state[table] = position.table(new.tower.patch.grid(images), state[table].device)
    new.load_state_dict(state)
    settings: dict[str, Any] = model.preprocess.to_dict() | ({} if image_size is None else {"image_size": list(images)})
    if model.preprocess.native is not None:
        settings["native"]["patch_size"] = list(patches)
    new.preprocess = Preprocess.from_dict(settings)
    new.config = {**config, "preprocess": settings}
    return new.train(model.training)


def keep_reference(position: nn.Module, tower: dict[str, Any]) -> None:
    """Writes into the configuration of a tower which grid positions that are not learned were trained with."""
    for part in (position, getattr(position, "angles", None)):
        if isinstance(part, RotaryPosition | SinusoidalPosition):
            tower["position"]["reference"] = list(part.built_grid)
