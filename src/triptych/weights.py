"""Starts a model from somebody's weights."""

import logging
from pathlib import Path

from torch import nn

from triptych.checkpoints.load import load
from triptych.errors import UserError

log = logging.getLogger("triptych.weights")

HEAD = "head."


def start_from(model: nn.Module, path: str | Path, allow: tuple[str, ...] = ()) -> list[str]:
    """Copies the weights of a checkpoint into `model`; the names left as they were initialised.

    A head for another number of classes stays new; anything else that does not fit is an error, for a model half of
    whose weights were silently left out would train all the same.

    Raises:
        UserError: the weights do not fit the model; the first misfit is named with both shapes.
    """
    given = load(path, allow=allow).state_dict()
    own = model.state_dict()
    new = sorted(
        name for name in own if name.startswith(HEAD) and (name not in given or given[name].shape != own[name].shape)
    )
    for name in own:
        if name not in new and (name not in given or given[name].shape != own[name].shape):
            there = tuple(given[name].shape) if name in given else "missing"
            raise UserError(
                f"weights={path} do not fit this model: {name} is {there} there and {tuple(own[name].shape)} here. "
                "Choose the model that the weights were trained with"
            )
    extra = sorted(name for name in given if name not in own and not name.startswith(HEAD))
    if extra:
        raise UserError(f"weights={path} hold {extra[0]} and {len(extra) - 1} more weights that this model lacks")
    model.load_state_dict({**own, **{name: given[name] for name in own if name not in new}})
    log.info(
        "weights from %s: %d tensors loaded, %s",
        path,
        len(own) - len(new),
        f"new: {', '.join(new)}" if new else "none new",
    )
    return new
