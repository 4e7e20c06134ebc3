"""Which dataclasses can stand at which place (dotted key) of a configuration."""

from typing import Any

from triptych.schema import optim, run

PLACES: dict[str, tuple[type[Any], ...]] = {**run.PLACES, **optim.PLACES}
