"""`triptych.create`: a model from a preset of conf/model."""

from collections.abc import Iterable
from typing import Any

from omegaconf import OmegaConf
from torch import nn

from triptych.build import build
from triptych.command import groups, messages
from triptych.command.overrides import quote
from triptych.errors import UserError
from triptych.schema import register
from triptych.schema.check import check
from triptych.schema.model import takes_channels
from triptych.schema.option import near
from triptych.tokens import fill_vocabulary

_DEFAULTS = {"num_classes": 1000, "channels": 3}


def create(
    preset: str,
    num_classes: int | None = None,
    channels: int | None = None,
    overrides: dict[str, Any] | None = None,
    captions: Iterable[str] = (),
) -> nn.Module:
    """A model with random weights, in training mode.

    `preset` is a name that `triptych ls models` shows. `num_classes` (1000 if not given, 0 for no head) and `channels`
    (3) are what is changed most; `overrides` changes anything else by its key below `model`, such as
    `{"tower.image_size": 96, "tower.mixer.qk_norm._target_": ...}`, and chooses parts: `{"tower/norm": "rms_norm"}`.
    `captions` are what a tokenizer is made of where it is one of words or subwords.

    Raises UserError for an unknown preset or key, with near misses.
    """
    register()
    known = groups.choices("model")
    if preset not in known:
        close = near(preset, list(known))
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise UserError(f"there is no model {preset!r}.{hint} `triptych ls models` lists them")
    words = [
        f"model={preset}",
        *(f"model{'/' if '/' in key else '.'}{key}={_word(value)}" for key, value in (overrides or {}).items()),
    ]
    try:
        config = messages.compose_plain("train", words)
        check(config.model)
        model = OmegaConf.to_container(config.model, resolve=True)
    except messages.COMPOSITION_ERRORS as error:
        raise UserError(messages.explain(error, "train", words)) from error
    assert isinstance(model, dict)
    model = {str(key): value for key, value in model.items()}
    if "num_classes" not in model and num_classes is not None:
        raise UserError(f"{preset} is a contrastive model, which has no head; leave num_classes out")
    for place, key, given in ((model, "num_classes", num_classes), (takes_channels(model), "channels", channels)):
        if key in place:
            place[key] = given if given is not None else place[key] or _DEFAULTS[key]
    fill_vocabulary(model, captions)
    built = build(model)
    built.config = {"model": model}
    return built


def _word(value: Any) -> str:
    return quote(value) if isinstance(value, str) and "/" in value else "null" if value is None else str(value)
