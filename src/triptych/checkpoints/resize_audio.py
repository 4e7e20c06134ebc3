"""A trained audio model for clips of another length, for good."""

import copy
from typing import Any

import torch
from torch import nn

from triptych.build import MODEL_PACKAGES, build
from triptych.checkpoints.resize import keep_reference
from triptych.errors import UserError
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.models.classifier import Classifier
from triptych.nn.position import LearnedPosition
from triptych.nn.time_position import transfer_grid
from triptych.towers.audio import AudioTower

TABLE = "tower.position.places"


@torch.no_grad()
def with_frames(model: nn.Module, frames: int, allow: tuple[str, ...] = ()) -> Classifier:
    """A new model of the same weights whose positions are for ``frames``, with its ``config`` and ``preprocess``.

    Learned positions are moved as AST moves them: the moments around the middle where there are fewer, all of them
    stretched where there are more (`transfer_grid`). Others keep the grid that they were trained with as their
    ``reference``. Where ``preprocess`` limits the length of a clip, the limit becomes that of ``frames``.

    Raises UserError where the model has no audio tower, does not know its config, or ``frames`` is below 1.
    """
    config: Any = getattr(model, "config", None)
    if not isinstance(model, Classifier) or not isinstance(model.tower, AudioTower) or not isinstance(config, dict):
        raise UserError(
            "Only a Classifier over an AudioTower that knows its config (as triptych.create and triptych.load make "
            f"them) can be given another number of frames, not this {type(model).__name__}."
        )
    if frames < 1:
        raise UserError(f"frames is {frames}; it must be at least 1.")
    tower, config = model.tower, copy.deepcopy(config)
    config["model"]["tower"]["frames"] = frames
    keep_reference(tower.position, config["model"]["tower"])
    new = build(config["model"], (*MODEL_PACKAGES, *allow))
    assert isinstance(new, Classifier)
    state, position = model.state_dict(), tower.position
    if isinstance(position, LearnedPosition):
        old_grid, new_grid = position.built_grid, new.tower.position.built_grid
        state[TABLE] = transfer_grid(state[TABLE], (old_grid[0], old_grid[1]), (new_grid[0], new_grid[1]))
    new.load_state_dict(state)
    new.preprocess = _limited(model.preprocess, frames)
    new.config = {**config, "preprocess": new.preprocess.to_dict()}
    return new.train(model.training)


def _limited(preprocess: AudioPreprocess, frames: int) -> AudioPreprocess:
    front_end = preprocess.front_end
    if preprocess.max_seconds is None:
        return preprocess
    return AudioPreprocess(front_end, front_end.frames.samples(frames) / front_end.sample_rate)
