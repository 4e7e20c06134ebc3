"""Which notes there are and which split each is of: both follow from hashes of names and a seed."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from .instruments import Instrument, by_family
from .soundfont import Recording

SEED = 2024
TRAIN, HELD_OUT_NOTES, HELD_OUT_INSTRUMENTS = "train", "held_out_notes", "held_out_instruments"
COUNTS = {TRAIN: 18, HELD_OUT_NOTES: 4, HELD_OUT_INSTRUMENTS: 12}
"""Notes of an instrument in each split."""

HELD_OUT_OF_FAMILY = 2

TOGETHER = (
    (38, 86),  # synth bass 1, fifths lead
    (89, 93, 97, 100),  # warm pad, metallic pad, soundtrack effect, brightness effect
)
"""Instruments that share recordings with each other and with no other instrument: held out together, since the families
of leads, pads and effects have too few that share with none."""

VELOCITIES = (30, 127)
SECONDS = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5)

Item = TypeVar("Item")


@dataclass(frozen=True, order=True)
class Note:
    """One note to render."""

    program: int
    pitch: int
    velocity: int
    seconds: float

    @property
    def key(self) -> str:
        """Name of the sample's members, unique over all splits."""
        return f"{self.program:03d}_{self.pitch:03d}_{self.velocity:03d}"


def fraction(name: str, seed: int = SEED) -> float:
    """A number from 0 to below 1 that only `name` and `seed` decide, the same on each machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:6], "big") / 2**48


def shuffled(items: Iterable[Item], name: Callable[[Item], str]) -> list[Item]:
    """`items` in an order that only their names decide."""
    return sorted(items, key=lambda item: fraction(name(item)))


def choose_held_out(recordings: Mapping[int, frozenset[Recording]]) -> set[int]:
    """Programs of the held-out instruments: two of each family, none of which shares a recording with any that is not.

    Those of TOGETHER, and, to fill up each family, the first in hashed order of those that share with none.

    Raises:
        ValueError: the soundfont shares its recordings out in another way than TOGETHER says.
    """
    families = by_family()
    programs = [instrument.program for family in families.values() for instrument in family]
    chosen = {program for group in TOGETHER for program in group}
    for family, instruments in families.items():
        alone = [
            each.program
            for each in instruments
            if not any(recordings[each.program] & recordings[other] for other in programs if other != each.program)
        ]
        missing = HELD_OUT_OF_FAMILY - sum(each.program in chosen for each in instruments)
        if len(alone) < missing:
            raise ValueError(f"family {family}: {len(alone)} instruments share no recording; {missing} are needed")
        chosen.update(shuffled(alone, lambda program: f"instrument/{program}")[:missing])
    sides = [(one, two) for one in sorted(chosen) for two in programs if two not in chosen]
    for one, two in sides:
        if recordings[one] & recordings[two]:
            raise ValueError(f"programs {one} and {two} share recordings, and only {one} is held out")
    return chosen


def notes_of(instrument: Instrument, held_out: bool) -> dict[str, list[Note]]:
    """The notes of one instrument by split, no pitch in two splits.

    Of an instrument in training, each of `COUNTS[HELD_OUT_NOTES]` equal parts of its range lends one pitch to that
    split. Pitches of a split are spread over the range, and come again with another velocity where it is short.
    """
    pitches = list(range(instrument.lowest, instrument.highest + 1))
    if held_out:
        return {HELD_OUT_INSTRUMENTS: _spread(instrument, pitches, COUNTS[HELD_OUT_INSTRUMENTS])}
    parts = _parts(pitches, COUNTS[HELD_OUT_NOTES])
    apart = [shuffled(part, lambda pitch: f"pitch/{instrument.program}/{pitch}")[0] for part in parts]
    rest = [pitch for pitch in pitches if pitch not in apart]
    return {
        TRAIN: _spread(instrument, rest, COUNTS[TRAIN]),
        HELD_OUT_NOTES: _spread(instrument, apart, COUNTS[HELD_OUT_NOTES]),
    }


def _parts(pitches: list[int], count: int) -> list[list[int]]:
    """`pitches` cut into `count` parts as equal as can be."""
    borders = [round(index * len(pitches) / count) for index in range(count + 1)]
    return [pitches[start:end] for start, end in pairwise(borders)]


def _spread(instrument: Instrument, pitches: list[int], count: int) -> list[Note]:
    """`count` notes: a pitch out of each part of the range, a velocity out of each part of theirs, in hashed pairs."""
    if len(pitches) >= count:
        drawn = [part[int(_drawn(instrument, "place", part[0]) * len(part))] for part in _parts(pitches, count)]
    else:
        drawn = [pitches[index * len(pitches) // count] for index in range(count)]
    softest, loudest = VELOCITIES
    borders = [softest + index * (loudest - softest + 1) // count for index in range(count + 1)]
    ranks = shuffled(range(count), lambda rank: f"velocity/{instrument.program}/{drawn[0]}/{rank}")
    notes = []
    for pitch, rank in zip(drawn, ranks, strict=True):
        width = borders[rank + 1] - borders[rank]
        velocity = borders[rank] + int(_drawn(instrument, "within", 1000 * pitch + rank) * width)
        length = SECONDS[int(_drawn(instrument, "seconds", 1000 * pitch + velocity) * len(SECONDS))]
        notes.append(Note(instrument.program, pitch, velocity, length))
    return notes


def _drawn(instrument: Instrument, what: str, at: int) -> float:
    return fraction(f"{what}/{instrument.program}/{at}")
