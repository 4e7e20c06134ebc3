"""Which dataclasses can stand at which place (dotted key) of a configuration."""

from typing import Any

from triptych.schema import contrastive, data, finetune, model, objective, optim, run

PLACES: dict[str, tuple[type[Any], ...]] = {
    **run.PLACES,
    **data.PLACES,
    **model.PLACES,
    **contrastive.PLACES,
    **objective.PLACES,
    **optim.PLACES,
    **finetune.PLACES,
}


def kinds_at(place: str) -> tuple[type[Any], ...]:
    """The dataclasses that can stand at a place; the validation sets of `data` have names of the user's choice."""
    if place.startswith("data.validation."):
        return data.SOURCES
    return PLACES.get(place, ())
