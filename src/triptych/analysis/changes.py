"""What differs between two nested dictionaries, such as two configurations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class Absent:
    """Stands for a key that only the other side has."""

    def __str__(self) -> str:
        return "not there"


ABSENT = Absent()


@dataclass(frozen=True)
class Change:
    """A dotted key and its value on either side, `ABSENT` on the side that lacks it."""

    key: str
    first: Any
    second: Any


def changes(first: Mapping[str, Any], second: Mapping[str, Any], ignored: frozenset[str] = frozenset()) -> list[Change]:
    """The keys whose values differ, in the order of `first`, then those that only `second` has; without `ignored` ones.

    Lists are values, compared whole; NaN equals NaN.
    """
    left, right = flat(first), flat(second)
    return [
        Change(key, left.get(key, ABSENT), right.get(key, ABSENT))
        for key in dict.fromkeys((*left, *right))
        if key not in ignored and not _same(left.get(key, ABSENT), right.get(key, ABSENT))
    ]


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of a nested dictionary by dotted key; an empty dictionary is a leaf."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _same(first: Any, second: Any) -> bool:
    return first == second or (first != first and second != second)
