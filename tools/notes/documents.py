"""What is written beside the shards: info.json for loaders, README.md and LICENSES.md for people."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .encoding import COMPRESSION
from .instruments import FAMILIES, INSTRUMENTS, LEFT_OUT, WITHOUT_NOTE, Instrument
from .levels import CLIPPED, SILENT
from .plan import HELD_OUT_INSTRUMENTS, HELD_OUT_NOTES, SECONDS, TRAIN, VELOCITIES
from .shards import Sample
from .synthesizer import HELD, RATE

LICENCE = """# Licences of data/notes

The notes are played with recordings of others: the soundfont "Fluid (R3) GM" by Frank Wen, as the Debian package
`fluid-soundfont-gm` 3.1 has it (`FluidR3_GM.sf2`, SHA-256 `{digest}`).

**What was changed:** single notes were rendered with FluidSynth, made mono, resampled to 16 kHz and stored as lossy Ogg
Vorbis. Names, words and captions beside them are this project's own, under its licence.

The soundfont's author writes in its README: "I hereby release Fluid under the MIT license, as described in COPYING."
Its notice and licence:

> Copyright (c) 2000-2002, 2008 Frank Wen <getfrank@gmail.com>
> Copyright (c) 2008 Toby Smithe
>
> Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
> documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
> rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
> persons to whom the Software is furnished to do so, subject to the following conditions:
>
> The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
> Software.
>
> THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
> WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
> COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
> OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

Contributors that its README names: Suren M. Seron, Scott Hanan, Steve Aupperle, Chris Gillman, Alex Taubr, Chris Prola,
Andrew Klenk, Winfried Hubbe, Dylan, Tim, Gort, Uros Katic, Ethan Winer (http://www.ethanwiner.com).
"""

README = """# data/notes

{total} notes of {instruments} instruments in {families} families, {shortest}-{longest} s each, 16 kHz mono,
{minutes:.0f} minutes together, {megabytes:.2f} MB. One class label: the instrument's family. The sounds are recordings
of instruments, which a synthesizer moves to other pitches and loudnesses. Licence: [LICENSES.md](LICENSES.md).

Written by `uv run tools/notes_data.py`, which needs Debian's `fluidsynth` and `fluid-soundfont-gm`; the same versions
give the same bytes. Do not edit by hand.

## Format

WebDataset shards, gzip-compressed tar. A sample is `PROGRAM_PITCH_VELOCITY.ogg` (Vorbis) and a `.json` of that name:

| field | what |
|---|---|
| `instrument` | General MIDI's name in plain words |
| `family` | class label, one of `classes` in info.json |
| `program` | General MIDI's number of the instrument, from 0 |
| `pitch`, `note` | MIDI pitch (60 is middle C) and its name (C4) |
| `register` | very low (to D#2), low (to D#3), mid-range (to B4), high (to B5) or very high |
| `velocity` | MIDI velocity, to 127 |
| `loudness` | very soft (to velocity 48), soft (to 67), moderate (to 87), loud (to 107) or very loud |
| `seconds` | length |
| `captions` | five: three name the instrument, one the third of its own range, one the family |

Samples lie in an order shuffled once, so each shard is a fair draw. [info.json](info.json) holds what a loader needs:
classes in label order, splits with shards and counts, sample rate, and the versions of what made the data.

## Splits

| split | what | shards | notes | minutes |
|---|---|---|---|---|
{splits}

No instrument of `{held_out_instruments}` is in another split. `{held_out_notes}` holds, of each instrument in training,
pitches that are not in `{train}`: one hashed pitch out of each of four equal parts of its range. A neighbouring pitch
often is the same recording, so this split is the easy one.

Two instruments of each family are held out. None of them shares a recording with an instrument in training, which the
builder reads out of the soundfont: the first in hashed order of those that share with no other, and for leads, pads and
effects, which are layers of each other, two groups that share among themselves alone (synth bass 1 with the fifths
lead; the pads warm and metallic with the effects soundtrack and brightness).

| family | {train} | {held_out_notes} | {held_out_instruments} | instruments | held-out instruments |
|---|---|---|---|---|---|
{families_table}

## How the notes are made

- Pitches lie in the range that is usual on the instrument (`tools/notes/instruments.py`), spread evenly over it;
  velocities are spread evenly over {softest} to {loudest}; both follow from hashes. The key is down for {held:.0%} of
  the length.
- The pitch is that of the key. These sound at another, and no caption of theirs names the note: {without_note}.
- No reverb, no chorus. One gain for all: how loud instruments are beside each other is the soundfont's choice. What is
  played softly is soft.
- Rendered at 48 kHz, both channels' mean, low-pass filtered to 7.4 kHz, every third sample. Vorbis with
  `compression_level` {compression} of libsndfile: {file:.1f} KB a file, {packed:.1f} KB in a shard, whose
  compression takes out what the files' headers have in common. The serial number of each Ogg stream, else a random one,
  is 1.
- A note whose loudest tenth of a second is below {silent:.0f} dB of full scale is silent, and one whose peak reaches
  {clipped} dB is clipped; such notes are left out: {faults}.

Left out of General MIDI's 128 programs:

{left_out}
"""


@dataclass(frozen=True)
class Made:
    """What the builder used and met."""

    fluidsynth: str
    libsndfile: str
    soundfont: str
    """SHA-256 of the file."""
    held_out: frozenset[int]
    faults: Mapping[str, int]
    """How many notes were left out, by what was wrong."""


Splits = Mapping[str, Sequence[Sample]]
Shards = Mapping[str, list[str]]


def write_info(out: Path, splits: Splits, shards: Shards, made: Made) -> None:
    """Write `info.json` into `out`."""
    info: dict[str, Any] = {
        "splits": {
            name: {
                "shards": shards[name],
                "samples": len(samples),
                "seconds": round(_seconds(samples), 1),
                "samples_by_class": _by_family(samples),
            }
            for name, samples in splits.items()
        },
        "classes": list(FAMILIES),
        "instruments": {family: [each.name for each in INSTRUMENTS if each.family == family] for family in FAMILIES},
        "held_out_instruments": [each.name for each in INSTRUMENTS if each.program in made.held_out],
        "sample_rate": RATE,
        "compression_level": COMPRESSION,
        "left_out": {fault: made.faults.get(fault, 0) for fault in ("silent", "clipped")},
        "made_with": {
            "fluidsynth": made.fluidsynth,
            "libsndfile": made.libsndfile,
            "soundfont": "FluidR3_GM.sf2",
            "soundfont_sha256": made.soundfont,
        },
    }
    (out / "info.json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")


def write_licences(out: Path, made: Made) -> None:
    """Write `LICENSES.md` into `out`."""
    (out / "LICENSES.md").write_text(LICENCE.format(digest=made.soundfont), encoding="utf-8")


def write_readme(out: Path, splits: Splits, shards: Shards, made: Made) -> None:
    """Write `README.md` into `out`; last, as it says how large the others are."""
    samples = [sample for split in splits.values() for sample in split]
    seconds = _seconds(samples)
    text = README.format(
        total=len(samples),
        instruments=len({sample.fields["program"] for sample in samples}),
        families=len(FAMILIES),
        shortest=SECONDS[0],
        longest=SECONDS[-1],
        minutes=seconds / 60,
        megabytes=sum(path.stat().st_size for path in out.iterdir() if path.name != "README.md") / 1e6,
        splits="\n".join(_split_row(name, splits[name], shards[name]) for name in splits),
        train=TRAIN,
        held_out_notes=HELD_OUT_NOTES,
        held_out_instruments=HELD_OUT_INSTRUMENTS,
        families_table="\n".join(_family_row(family, splits, made.held_out) for family in FAMILIES),
        without_note=", ".join(each.name for each in INSTRUMENTS if each.program in WITHOUT_NOTE),
        softest=VELOCITIES[0],
        loudest=VELOCITIES[1],
        held=HELD,
        file=sum(len(sample.ogg) for sample in samples) / len(samples) / 1000,
        packed=sum((out / name).stat().st_size for names in shards.values() for name in names) / len(samples) / 1000,
        compression=COMPRESSION,
        silent=SILENT,
        clipped=CLIPPED,
        faults=", ".join(f"{count} {fault}" for fault, count in sorted(made.faults.items())) or "there was none",
        left_out=_left_out(),
    )
    (out / "README.md").write_text(text, encoding="utf-8")


def _seconds(samples: Sequence[Sample]) -> float:
    return sum(sample.fields["seconds"] for sample in samples)


def _by_family(samples: Sequence[Sample]) -> dict[str, int]:
    counted = Counter(sample.fields["family"] for sample in samples)
    return {family: counted[family] for family in FAMILIES}


WHAT = {
    TRAIN: "instruments in training",
    HELD_OUT_NOTES: "other pitches of the same instruments",
    HELD_OUT_INSTRUMENTS: "instruments never trained on",
}


def _split_row(name: str, samples: Sequence[Sample], shards: list[str]) -> str:
    return f"| {name} | {WHAT[name]} | {len(shards)} | {len(samples)} | {_seconds(samples) / 60:.1f} |"


def _family_row(family: str, splits: Splits, held_out: frozenset[int]) -> str:
    counts = [str(_by_family(splits.get(name, []))[family]) for name in (TRAIN, HELD_OUT_NOTES, HELD_OUT_INSTRUMENTS)]
    of_family = [each for each in INSTRUMENTS if each.family == family]

    def listed(instruments: Sequence[Instrument]) -> str:
        return ", ".join(each.name for each in instruments)

    trained = listed([each for each in of_family if each.program not in held_out])
    apart = listed([each for each in of_family if each.program in held_out])
    return f"| {family} | {' | '.join(counts)} | {trained} | {apart} |"


def _left_out() -> str:
    reasons: dict[str, list[int]] = {}
    for program, reason in LEFT_OUT.items():
        reasons.setdefault(reason, []).append(program)
    return "\n".join(
        f"- {programs[0]}{f' to {programs[-1]}' if len(programs) > 1 else ''}, {reason}."
        for reason, programs in reasons.items()
    )
