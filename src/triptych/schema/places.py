"""Which dataclasses can stand at which place (dotted key) of a configuration."""

import re
from typing import Any

from triptych.schema import contrastive, data, finetune, model, objective, optim, pairs, run

PLACES: dict[str, tuple[type[Any], ...]] = {
    **run.PLACES,
    **data.PLACES,
    **pairs.PLACES,
    **model.PLACES,
    **contrastive.PLACES,
    **objective.PLACES,
    **optim.PLACES,
    **finetune.PLACES,
}


_NAMED = (
    (re.compile(r"data\.(validation|train\.sources)\.[^.]+\.caption"), pairs.CAPTIONS),
    (re.compile(r"data\.validation\.[^.]+"), (*data.SOURCES, *pairs.SINGLE)),
    (re.compile(r"data\.train\.sources\.[^.]+"), pairs.SINGLE),
)
"""Places of parts that have names of the user's choice: validation sets, and sources of a mixture."""


def kinds_at(place: str) -> tuple[type[Any], ...]:
    """The dataclasses that can stand at a place."""
    for pattern, kinds in _NAMED:
        if pattern.fullmatch(place):
            return kinds
    return PLACES.get(place, ())
