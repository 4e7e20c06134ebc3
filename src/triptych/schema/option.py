"""What a field of the configuration is: its type, its default, its meaning and its range, said once."""

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Range:
    """Bounds of a number; `above`/`below` exclude the bound itself, `least`/`most` include it."""

    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    choices: tuple[Any, ...] = ()

    def holds(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        return (
            (self.above is None or value > self.above)
            and (self.least is None or value >= self.least)
            and (self.below is None or value < self.below)
            and (self.most is None or value <= self.most)
        )

    def __str__(self) -> str:
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        bounds = ((">", self.above), (">=", self.least), ("<", self.below), ("<=", self.most))
        return " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None) or "any"


class Pixels(Range):
    """A length in pixels, or two: height and width."""

    def holds(self, value: Any) -> bool:
        sides = [value, value] if isinstance(value, int) else value
        return (
            isinstance(sides, Sequence)
            and len(sides) == 2
            and all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides)
        )

    def __str__(self) -> str:
        return "one whole number of pixels above 0, or two, [height,width]"


PIXELS = Pixels()


def option(help: str, *, default: Any = MISSING, range: Range | None = None, positional: bool = False) -> Any:
    """A documented field. Without a `default` the YAML file of the group must give the value.

    The `positional` fields of a task are also given by bare words, in their order: `triptych compare RUN RUN`.
    """
    metadata = {"help": help, "range": range or Range(), "positional": positional}
    if default is MISSING:
        return field(default="???", metadata=metadata)
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def type_name(annotation: Any) -> str:
    """An annotation as a reader writes it: `float`, `int | None`, `list[str]`."""
    return (
        annotation.__name__
        if isinstance(annotation, type) and not hasattr(annotation, "__args__")
        else str(annotation).replace("typing.", "")
    )


@dataclass(frozen=True)
class Documented:
    """One field with everything that `triptych help TASK key` prints."""

    key: str
    type: str
    help: str
    range: Range


def documented_fields(node: type, prefix: str = "") -> dict[str, Documented]:
    """The documented fields of one dataclass, by dotted key."""
    found = {}
    for item in dataclasses.fields(node):
        if "help" in item.metadata:
            key = prefix + item.name
            found[key] = Documented(key, type_name(item.type), item.metadata["help"], item.metadata["range"])
    return found


def near(word: str, known: list[str], count: int = 3) -> list[str]:
    """Known words that a typing mistake could have meant, best first."""
    lowered = {item.lower(): item for item in known}
    close = difflib.get_close_matches(word.lower(), list(lowered), n=count, cutoff=0.6)
    begun = sorted(item for item in lowered if word and item.startswith(word.lower()))
    return [lowered[item] for item in dict.fromkeys([*close, *begun])][:count]
