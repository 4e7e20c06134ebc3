# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "pillow==12.3.0", "resvg-py==0.5.0"]
# ///
"""Build the data that ships, `data/emoji`: run `uv run tools/build_emoji.py` (needs npm; about four minutes).

The same versions of packages and tools give the same bytes. See `data/emoji/README.md` for what comes out and why.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

from emoji import packages
from emoji.collect import Pictures, collect
from emoji.concepts import Concept, code_key, group_names, load_concepts
from emoji.documents import write_licences, write_readme
from emoji.drawings import encode, load_renderer
from emoji.info import write_info
from emoji.likeness import likeness, without_near_copies, without_repeats
from emoji.selection import select
from emoji.shards import Sample, write_shards
from emoji.split import SPLITS, choose_held_out, shuffled, split_of
from emoji.styles import HELD_OUT_STYLE, LEFT_OUT, STYLES

ROOT = Path(__file__).resolve().parents[1]
IMAGE_SIZE = 64
QUALITY = 75
HELD_OUT_CONCEPTS = 150


def split_samples(concepts: list[Concept], pictures: Pictures, held_out: set[str]) -> dict[str, list[Sample]]:
    """All samples by split, each split in its stored order."""
    splits: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for style in STYLES:
        for concept in concepts:
            picture = pictures[style.name].get(code_key(concept.hexcode))
            if picture is not None:
                split = split_of(concept.hexcode, style.held_out, held_out)
                splits[split].append(Sample(concept, style.name, encode(picture, QUALITY)))
    return {split: shuffled(samples, lambda sample: sample.key) for split, samples in splits.items()}


def clear(folder: Path) -> None:
    """Remove the shards of an earlier run: a shorter list must leave no stale one behind."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in folder.glob("*.tar.gz"):
        shard.unlink()


def build(out: Path, cache: Path) -> None:
    """Fetch, draw, select, split and write everything under `out`."""
    emojibase = packages.fetch(packages.EMOJIBASE, cache)
    concepts = load_concepts(emojibase)
    drawn: Mapping[str, packages.Package] = {style.name: style.package for style in STYLES} | LEFT_OUT
    pictures = collect(drawn, concepts, cache, IMAGE_SIZE, load_renderer())
    table = likeness(pictures, concepts)
    pictures = {style.name: pictures[style.name] for style in STYLES}
    pictures, near_copies = without_near_copies(pictures, HELD_OUT_STYLE)
    concepts = select(concepts, pictures)
    pictures, repeats = without_repeats(pictures, concepts, lambda picture: encode(picture, QUALITY))
    splits = split_samples(concepts, pictures, choose_held_out(concepts, HELD_OUT_CONCEPTS))
    clear(out)
    shards = {split: write_shards(out, split, samples) for split, samples in splits.items()}
    write_info(out, group_names(emojibase), splits, shards, IMAGE_SIZE, QUALITY)
    write_licences(out, packages.fetch(packages.LICENCE_TEXTS, cache))
    write_readme(out, splits, shards, table, near_copies, repeats, IMAGE_SIZE)


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description="Build data/emoji from npm packages.")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "emoji", help="folder to write")
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "emoji-cache", help="archives kept here"
    )
    arguments = parser.parse_args()
    build(arguments.out, arguments.cache)


if __name__ == "__main__":
    main()
