"""How alike two styles draw the same thing: what decides that near copies stay on one side of the split."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from PIL import Image

from .collect import Pictures
from .concepts import Concept, code_key

SIDE = 24  # pictures are compared at this size, cut to what is drawn, so that margins play no part
NEAR_COPY = 0.03
INK = 16
FEWEST = 30


@dataclass(frozen=True)
class Likeness:
    """Two styles over the concepts (flags or not) that both draw; distances are mean absolute differences of 1."""

    first: str
    second: str
    flags: bool
    concepts: int
    same: float
    other: float
    near_copies: float


def outline(picture: Image.Image) -> np.ndarray:
    """`picture` cut to its drawn part, centred on a white square, as float32 (SIDE * SIDE * 3,) in 0..1."""
    pixels = np.asarray(picture).astype(np.int16)
    inked = np.abs(pixels - 255).max(axis=2) > INK
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    if not len(rows):
        return np.ones(SIDE * SIDE * 3, dtype=np.float32)
    part = picture.crop((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))
    side = max(part.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(part, ((side - part.width) // 2, (side - part.height) // 2))
    small = square.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).reshape(-1) / 255


def likeness(pictures: Pictures, concepts: list[Concept]) -> list[Likeness]:
    """Each pair of styles, over concepts that are flags and over the others. `other` pairs each drawing with the next
    concept's, half a list away: the distance that two drawings have which show different things."""
    outlines = {style: {code: outline(picture) for code, picture in drawn.items()} for style, drawn in pictures.items()}
    codes = {flags: [code_key(c.hexcode) for c in concepts if (c.group == "flags") == flags] for flags in (False, True)}
    table = []
    for (first, one), (second, two) in combinations(outlines.items(), 2):
        for flags, listed in codes.items():
            shared = [code for code in listed if code in one and code in two]
            if len(shared) < FEWEST:
                continue
            left, right = np.stack([one[code] for code in shared]), np.stack([two[code] for code in shared])
            same = np.abs(left - right).mean(axis=1)
            other = np.abs(left - np.roll(right, len(shared) // 2, axis=0)).mean()
            near = float((same < NEAR_COPY).mean())
            table.append(Likeness(first, second, flags, len(shared), float(same.mean()), float(other), near))
    return table


def without_near_copies(pictures: Pictures, of: str) -> tuple[Pictures, int]:
    """`pictures` less the drawings of other styles that nearly are those of the style `of`, and how many went."""
    originals = {code: outline(picture) for code, picture in pictures[of].items()}

    def is_copy(code: str, picture: Image.Image) -> bool:
        return code in originals and float(np.abs(outline(picture) - originals[code]).mean()) < NEAR_COPY

    kept = {
        style: {code: picture for code, picture in drawn.items() if style == of or not is_copy(code, picture)}
        for style, drawn in pictures.items()
    }
    return kept, sum(map(len, pictures.values())) - sum(map(len, kept.values()))


def without_repeats(
    pictures: Pictures, concepts: list[Concept], stored: Callable[[Image.Image], bytes]
) -> tuple[Pictures, int]:
    """`pictures` of `concepts` less those that are another one as `stored`, and how many went.

    Some styles draw two concepts alike, and some letters are the same in two styles. The drawing stays with the concept
    of the shortest caption, in the first of the styles; none of the held-out concepts' drawings can then stand in
    training under another name.
    """
    seen: set[bytes] = set()
    kept: Pictures = {style: {} for style in pictures}
    total = 0
    for concept in sorted(concepts, key=lambda concept: (len(concept.caption), concept.hexcode)):
        code = code_key(concept.hexcode)
        for style, drawn in pictures.items():
            if code not in drawn:
                continue
            total += 1
            data = stored(drawn[code])
            if data not in seen:
                seen.add(data)
                kept[style][code] = drawn[code]
    return kept, total - sum(map(len, kept.values()))
