"""Which dataclasses can stand at which place (dotted key) of a configuration."""

import re
from typing import Any

from triptych.schema import audio, contrastive, data, finetune, launcher, model, objective, optim, pairs, run

_ROOMS = (run, data, pairs, model, contrastive, objective, optim, finetune, audio, launcher)

PLACES: dict[str, tuple[type[Any], ...]] = {}
for room in _ROOMS:
    for place, kinds in room.PLACES.items():
        PLACES[place] = tuple(dict.fromkeys((*PLACES.get(place, ()), *kinds)))


_NAMED = (
    (re.compile(r"data\.(validation|train\.sources)\.[^.]+\.caption"), pairs.CAPTIONS),
    (re.compile(r"data\.validation\.[^.]+\.folds"), (data.Folds,)),
    (re.compile(r"data\.validation\.[^.]+\.segment"), (data.Segment,)),
    (re.compile(r"data\.validation\.[^.]+"), (*data.SOURCES, *pairs.SINGLE)),
    (re.compile(r"data\.augment\.transforms\.[^.]+(\.transform)?"), audio.CHANGES),
    (re.compile(r"data\.train\.sources\.[^.]+"), pairs.SINGLE),
)
"""Places of parts that have names of the user's choice: validation sets, and sources of a mixture."""


def kinds_at(place: str) -> tuple[type[Any], ...]:
    """The dataclasses that can stand at a place."""
    for pattern, kinds in _NAMED:
        if pattern.fullmatch(place):
            return kinds
    return PLACES.get(place, ())
