"""Which recordings each program of a soundfont plays: two programs of the same recordings are hardly two instruments.

The format is that of the SoundFont Technical Specification 2.04: a RIFF file whose `pdta` list holds tables of presets,
instruments and samples, each row naming the first of its rows in the next table.
"""

import struct
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

SAMPLE, INSTRUMENT = 53, 41
"""Generators that name a row of the table of samples, and of that of instruments."""

PRESETS, PRESET_BAGS, GENERATORS = "<20sHHHIII", "<HH", "<HH"
INSTRUMENTS, INSTRUMENT_BAGS, SAMPLES = "<20sH", "<HH", "<20sIIIIIBbHH"

Recording = tuple[int, int]
"""First and last place of a recording in the soundfont's data."""

Rows = list[tuple[Any, ...]]


def recordings(soundfont: Path) -> dict[int, frozenset[Recording]]:
    """The recordings that each program of bank 0 plays, at whatever pitch and velocity.

    Raises:
        ValueError: the file is no soundfont.
    """
    tables = _tables(soundfont)
    samples = _rows(tables, b"shdr", SAMPLES)
    of_instrument = [
        frozenset((samples[place][1], samples[place][2]) for place in named)
        for named in _named(tables, (b"inst", b"ibag", b"igen"), (INSTRUMENTS, INSTRUMENT_BAGS), 1, SAMPLE)
    ]
    of_preset = _named(tables, (b"phdr", b"pbag", b"pgen"), (PRESETS, PRESET_BAGS), 3, INSTRUMENT)
    presets = _rows(tables, b"phdr", PRESETS)[:-1]
    return {
        preset[1]: frozenset[Recording]().union(*(of_instrument[place] for place in named))
        for preset, named in zip(presets, of_preset, strict=True)
        if preset[2] == 0
    }


def _named(
    tables: dict[bytes, bytes], names: tuple[bytes, bytes, bytes], forms: tuple[str, str], column: int, generator: int
) -> list[set[int]]:
    """For each row of the first table, the rows that its generators of one kind name."""
    heads = _rows(tables, names[0], forms[0])
    bags = _rows(tables, names[1], forms[1])
    generators = _rows(tables, names[2], GENERATORS)
    found = []
    for head, after in pairwise(heads):  # the last row of each table only ends it
        first, last = bags[head[column]][0], bags[after[column]][0]
        found.append({value for kind, value in generators[first:last] if kind == generator})
    return found


def _rows(tables: dict[bytes, bytes], name: bytes, form: str) -> Rows:
    return list(struct.iter_unpack(form, tables[name]))


def _tables(soundfont: Path) -> dict[bytes, bytes]:
    with soundfont.open("rb") as file:
        if file.read(4) != b"RIFF" or file.seek(8) != 8 or file.read(4) != b"sfbk":
            raise ValueError(f"{soundfont} is no soundfont")
        tables = dict(_chunks(file, soundfont.stat().st_size))
    missing = {b"phdr", b"pbag", b"pgen", b"inst", b"ibag", b"igen", b"shdr"} - set(tables)
    if missing:
        raise ValueError(f"{soundfont} is no soundfont: it has no {sorted(missing)[0].decode()} table")
    return tables


def _chunks(file: BinaryIO, end: int) -> list[tuple[bytes, bytes]]:
    """Chunks from here to `end`, those in lists too, without the recordings themselves."""
    found = []
    while file.tell() < end:
        name, size = struct.unpack("<4sI", file.read(8))
        start = file.tell()
        if name == b"LIST":
            file.seek(start + 4)
            found += _chunks(file, start + size)
        elif name not in (b"smpl", b"sm24"):
            found.append((name, file.read(size)))
        file.seek(start + size + size % 2)
    return found
