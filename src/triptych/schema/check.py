"""Checks that OmegaConf's types cannot state: ranges of numbers and lists of allowed words."""

import dataclasses
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from triptych.errors import UserError
from triptych.schema.option import Documented, documented_fields
from triptych.schema.places import PLACES
from triptych.schema.roots import ROOTS
from triptych.schema.run import Part


def nodes(config: DictConfig, prefix: str = "") -> dict[str, type]:
    """The dataclass behind every node of a composed configuration, by dotted key ('' is the root)."""
    found = {}
    kind = OmegaConf.get_type(config)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        found[prefix] = kind
    for key in config:
        if OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, str(key)):
            continue
        if isinstance(value := config[key], DictConfig):
            found |= nodes(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def documented(config: DictConfig) -> dict[str, Documented]:
    """Every documented field of a composed configuration, by dotted key."""
    found = {}
    for place, kind in nodes(config).items():
        found |= documented_fields(kind, f"{place}." if place else "")
    return found


def check(config: DictConfig) -> None:
    """Raises UserError for a key that nothing would read, and for a value out of the range that its field documents."""
    for place, kind in nodes(config).items():
        node = OmegaConf.select(config, place) if place else config
        unknown = (
            set(map(str, node)) - {field.name for field in dataclasses.fields(kind)} if kind is not Part else set()
        )
        if unknown:
            key = f"{place}.{min(unknown)}" if place else min(unknown)
            raise UserError(f"{key} would be ignored: {kind.__name__} has no such setting. Leave out `+{key}=...`")
    for key, field in documented(config).items():
        try:
            value: Any = OmegaConf.select(config, key)
        except InterpolationResolutionError:  # refers to what the task finds out; it fails there if that stays away
            continue
        if value is not None and not field.range.holds(value):
            raise UserError(f"{key}={value} is out of range: {field.range} ({field.help})")


@cache
def text_keys() -> frozenset[str]:
    """Dotted keys of fields that hold text, wherever they may stand in the configuration."""
    kinds: list[tuple[str, type]] = [(place, kind) for place, alternatives in PLACES.items() for kind in alternatives]
    for root in ROOTS.values():
        nested = [(item.name, item.type) for item in dataclasses.fields(root)]
        kinds += [("", root), *((name, kind) for name, kind in nested if dataclasses.is_dataclass(kind))]
    found = set()
    for place, kind in kinds:
        fields = documented_fields(kind, f"{place}." if place else "")
        found |= {key for key, field in fields.items() if field.type in ("str", "str | None")}
    return frozenset(found)
