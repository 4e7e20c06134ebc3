"""Which concepts stay: those drawn by three hands or more, never blank, and told apart by their drawings."""

from collections.abc import Iterable

import numpy as np

from .collect import Pictures
from .concepts import Concept, code_key
from .drawings import is_blank
from .styles import EVERYWHERE, HELD_OUT_STYLE, hands

MIN_HANDS = 3
# Mean absolute difference (of 1) below which two drawings are the same; the closest honest pair of drawings
# (two clock faces) lies at 0.003.
SAME_DRAWING = 0.002


def is_drawn_enough(code: str, pictures: Pictures) -> bool:
    """Whether three hands drew the concept, the ones it must have among them, and no drawing is blank."""
    names = {style for style, drawn in pictures.items() if code in drawn}
    blank = any(is_blank(np.asarray(pictures[style][code])) for style in names)
    return names.issuperset(EVERYWHERE) and len(hands(names)) >= MIN_HANDS and not blank


def without_doubles(concepts: Iterable[Concept], pictures: Pictures) -> list[Concept]:
    """Concepts without those that the held-out style draws like another one; of such the shortest caption stays.

    Twemoji draws all families of one shape the same, and the flag of an outlying territory is that of its country:
    no model could tell them apart.
    """
    stored = pictures[HELD_OUT_STYLE]
    kept: list[Concept] = []
    pixels = np.empty((0, 0), dtype=np.float32)
    for concept in sorted(concepts, key=lambda concept: (len(concept.caption), concept.hexcode)):
        row = np.asarray(stored[code_key(concept.hexcode)], dtype=np.float32).reshape(1, -1) / 255
        if kept and float(np.abs(pixels - row).mean(axis=1).min()) < SAME_DRAWING:
            continue
        pixels = np.concatenate([pixels, row]) if kept else row
        kept.append(concept)
    return kept


def select(concepts: list[Concept], pictures: Pictures) -> list[Concept]:
    """The concepts that the data set holds, in the order of `concepts`."""
    drawn = [concept for concept in concepts if is_drawn_enough(code_key(concept.hexcode), pictures)]
    kept = set(without_doubles(drawn, pictures))
    return [concept for concept in drawn if concept in kept]
