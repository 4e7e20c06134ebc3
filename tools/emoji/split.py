"""Which concepts are held out, and in which order samples lie: both follow from hashes of names and a seed."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from .concepts import Concept, family

SEED = 2024
Item = TypeVar("Item")

TRAIN, HELD_OUT_STYLE_SPLIT, HELD_OUT_CONCEPTS_SPLIT = "train", "held_out_style", "held_out_concepts"
SPLITS = (TRAIN, HELD_OUT_STYLE_SPLIT, HELD_OUT_CONCEPTS_SPLIT)


def shuffled(items: Iterable[Item], name: Callable[[Item], str], seed: int = SEED) -> list[Item]:
    """`items` in an order that only their names and `seed` decide, the same on each machine and version of Python."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed}/{name(item)}".encode()).digest())


def quotas(sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """`total` shared out over groups in proportion to `sizes`, at least one each, by largest remainder.

    >>> quotas({"a": 90, "b": 9, "c": 1}, 10)
    {'a': 8, 'b': 1, 'c': 1}
    """
    whole = sum(sizes.values())
    exact = {group: total * size / whole for group, size in sizes.items()}
    share = {group: max(1, int(value)) for group, value in exact.items()}
    while sum(share.values()) != total:
        step = 1 if sum(share.values()) < total else -1
        movable = [group for group in sizes if step > 0 or share[group] > 1]
        nearest = max(movable, key=lambda group: (step * (exact[group] - share[group]), group))
        share[nearest] += step
    return share


def choose_held_out(concepts: Iterable[Concept], count: int, seed: int = SEED) -> set[str]:
    """Hex codes of `count` concepts, stratified over groups; person, man and woman of one emoji go together.

    Raises:
        ValueError: if whole families cannot fill the share of a group exactly.
    """
    groups = defaultdict[str, dict[str, list[str]]](dict)
    for concept in concepts:
        groups[concept.group].setdefault(family(concept.hexcode), []).append(concept.hexcode)
    sizes = {group: sum(map(len, families.values())) for group, families in groups.items()}
    chosen = set[str]()
    for group, left in quotas(sizes, count).items():
        for key in shuffled(groups[group], str, seed):
            members = groups[group][key]
            if len(members) <= left:
                chosen.update(members)
                left -= len(members)
        if left:
            raise ValueError(f"group {group}: {left} of its held-out concepts cannot be filled with whole families")
    return chosen


def split_of(hexcode: str, style_held_out: bool, held_out: set[str]) -> str:
    """The split of one drawing: a held-out concept in every style, else the held-out style, else training."""
    if hexcode in held_out:
        return HELD_OUT_CONCEPTS_SPLIT
    return HELD_OUT_STYLE_SPLIT if style_held_out else TRAIN
