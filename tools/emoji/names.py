"""Matching by icon name, for sets that come without code points. What is not certain is left out.

Names are looked up in three tiers, the most trusted first: names that the sets with code points use today (and the CLDR
captions), then their older names, then Unicode's character names. A name that a tier knows under two code points is
no match, and an emoji that two drawings of a set claim gets neither.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Set

from .concepts import Concept, code_key
from .icons import IconSet

FLAG_PREFIX = re.compile(r"^flag-for-(flag-)?")


def fold(name: str) -> str:
    """A name without case, accents that differ between sets, and punctuation; all ways to call a flag become one.

    >>> fold("flag-for-flag-côte-d'ivoire") == fold("flag: Côte d’Ivoire")
    True
    """
    lowered = FLAG_PREFIX.sub("flag-", name.lower()).replace("&", "and")
    lowered = re.sub(r"\bst[.-]", "st-", lowered)
    return "".join(letter for letter in lowered if letter.isalnum())


Tier = Mapping[str, Set[str]]


def tiers(concepts: Iterable[Concept], sets: Iterable[IconSet], unicode_names: Mapping[str, str]) -> list[Tier]:
    """Folded name -> code keys that go by it, most trusted tier first."""
    current, older, official = (defaultdict[str, set[str]](set) for _ in range(3))
    for concept in concepts:
        current[fold(concept.caption)].add(code_key(concept.hexcode))
    for icon_set in sets:
        codes = defaultdict[str, set[str]](set)
        for code, name in icon_set.characters.items():
            current[fold(name)].add(code)
            codes[name].add(code)
        for alias, name in icon_set.aliases.items():
            older[fold(alias)] |= codes[name]
    for code, name in unicode_names.items():
        official[fold(name)].add(code_key(code))
    return [current, older, official]


def look_up(names: Iterable[str], known: Iterable[Tier]) -> str | None:
    """The one code key that all `names` of a drawing lead to in the first tier that knows any of them, else None."""
    folded = [fold(name) for name in names]
    for tier in known:
        found = set[str]().union(*(tier.get(name, ()) for name in folded))
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def match(icon_set: IconSet, known: Iterable[Tier]) -> dict[str, str]:
    """Code key -> icon name, for the drawings of a set without code points whose emoji is certain."""
    known = list(known)
    claims = defaultdict[str, list[str]](list)
    for name in icon_set.icons:
        code = look_up([name], known)
        if code is not None:
            claims[code].append(name)
    return {code: names[0] for code, names in claims.items() if len(names) == 1}
