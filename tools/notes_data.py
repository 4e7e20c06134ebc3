# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "soundfile==0.14.0"]
# ///
"""Build the notes that ship, `data/notes`: run `uv run tools/notes_data.py` (needs Debian's packages fluidsynth and
fluid-soundfont-gm; about three minutes).

The same versions of soundfont, synthesizer and encoder give the same bytes. See `data/notes/README.md` for what comes
out and why.
"""

import argparse
import hashlib
from collections import Counter
from collections.abc import Set
from pathlib import Path

import soundfile
from notes.documents import Made, write_info, write_licences, write_readme
from notes.encoding import encode
from notes.instruments import INSTRUMENTS
from notes.levels import fault
from notes.plan import HELD_OUT_INSTRUMENTS, HELD_OUT_NOTES, TRAIN, choose_held_out, notes_of, shuffled
from notes.shards import Sample, write_shards
from notes.soundfont import recordings
from notes.synthesizer import Synthesizer
from notes.words import fields

ROOT = Path(__file__).resolve().parents[1]
SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")


def render(
    synthesizer: Synthesizer, held_out: Set[int], programs: Set[int]
) -> tuple[dict[str, list[Sample]], Counter[str]]:
    """Samples of each split in their stored order, and how many notes were left out, by what was wrong."""
    splits: dict[str, list[Sample]] = {TRAIN: [], HELD_OUT_NOTES: [], HELD_OUT_INSTRUMENTS: []}
    faults = Counter[str]()
    for instrument in INSTRUMENTS:
        if instrument.program not in programs:
            continue
        for split, notes in notes_of(instrument, instrument.program in held_out).items():
            for note in notes:
                wave = synthesizer.note(note.program, note.pitch, note.velocity, note.seconds)
                wrong = fault(wave)
                if wrong is None:
                    splits[split].append(Sample(note.key, encode(wave), fields(instrument, note)))
                else:
                    faults[wrong] += 1
                    print(f"left out, {wrong}: {instrument.name}, {note}")
    return {name: shuffled(samples, lambda sample: sample.key) for name, samples in splits.items()}, faults


def clear(folder: Path) -> None:
    """Remove the shards of an earlier run: a shorter list must leave no stale one behind."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in folder.glob("*.tar.gz"):
        shard.unlink()


def build(out: Path, soundfont: Path, programs: Set[int]) -> None:
    """Render, encode, split and write everything under `out`."""
    synthesizer = Synthesizer(soundfont)
    held_out = choose_held_out(recordings(soundfont))
    splits, faults = render(synthesizer, held_out, programs)
    clear(out)
    shards = {split: write_shards(out, split, samples) for split, samples in splits.items() if samples}
    splits = {split: splits[split] for split in shards}
    digest = hashlib.sha256(soundfont.read_bytes()).hexdigest()
    made = Made(synthesizer.version, soundfile.__libsndfile_version__, digest, frozenset(held_out), faults)
    write_info(out, splits, shards, made)
    write_licences(out, made)
    write_readme(out, splits, shards, made)
    for path in sorted(out.iterdir()):
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.stat().st_size:8d}  {path.name}")


def main() -> None:
    """Read the command line and build."""
    every = [instrument.program for instrument in INSTRUMENTS]
    parser = argparse.ArgumentParser(description="Build data/notes with fluidsynth from a General MIDI soundfont.")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "notes", help="folder to write")
    parser.add_argument("--soundfont", type=Path, default=SOUNDFONT, help="the .sf2 file")
    parser.add_argument("--programs", type=int, nargs="+", choices=every, default=every, help="only these instruments")
    arguments = parser.parse_args()
    build(arguments.out, arguments.soundfont, frozenset(arguments.programs))


if __name__ == "__main__":
    main()
