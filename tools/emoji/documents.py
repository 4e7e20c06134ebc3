"""What is written beside the shards for people: README.md, LICENSES.md and the texts of the licences."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from .likeness import NEAR_COPY, Likeness
from .packages import EMOJIBASE
from .shards import Sample
from .split import HELD_OUT_CONCEPTS_SPLIT, HELD_OUT_STYLE_SPLIT, TRAIN
from .styles import HELD_OUT_STYLE, LEFT_OUT, STYLES

MIT_NOTICES = (
    "Copyright (c) Microsoft Corporation (Fluent Emoji)",
    "Copyright (c) 2023 LobeHub (package fluent-emoji-3d)",
    "Copyright (c) 2017-2019 Miles Johnson (emojibase-data)",
)
MIT_BLANK = "Copyright (c) <year> <copyright holders>"

LICENCES = """# Licences of data/emoji

The pictures are drawings of others, rendered and scaled. Each sample's JSON names its style; this table says whose it
is. The pictures stay under the licences below, whatever licence the rest of this project has.

| style | drawings | author | package | licence (SPDX) | text |
|---|---|---|---|---|---|
{rows}

**What was changed, for every style:** each drawing was rendered (vector sets) or decoded (Fluent 3D), laid on a white
square, scaled down to a small RGB picture and stored as lossy WebP. Nothing was redrawn, recoloured or combined.
Skin-tone variants and some other drawings were left out.

**Share-alike.** OpenMoji is under CC BY-SA 4.0: its pictures in these shards are adaptations and are under CC BY-SA 4.0
too; who passes them on, changed or not, does so under that licence and names OpenMoji. The other styles stand beside
them, not built upon them, and keep their own licences.

**Attribution** (CC BY and CC BY-SA ask for it): "OpenMoji, the open-source emoji and icon project, CC BY-SA 4.0";
"Twemoji, Copyright Twitter, Inc and other contributors, CC BY 4.0"; "Emoji One (EmojiTwo), CC BY 4.0".

**Names.** Captions, tags, groups and subgroups are those of `{names}` {names_version} (MIT, Miles Johnson), which takes
them from Unicode's emoji data and CLDR.
"""

README = """# data/emoji

{total} pictures of {concepts} emoji ("concepts": no skin-tone variants) in {styles} styles, {size} px RGB on white,
{megabytes:.2f} MB. One class label: the emoji's group (10 of them). Licences and attributions:
[LICENSES.md](LICENSES.md).

Written by `uv run tools/build_emoji.py`; the same package and tool versions give the same bytes. Do not edit by hand.

## Format

WebDataset shards, gzip-compressed tar (an uncompressed tar would spend 2 KB a sample on headers and padding). A sample
is `HEXCODE_STYLE.webp` and `HEXCODE_STYLE.json` with `caption`, `tags`, `group`, `subgroup`, `style`, `emoji`,
`hexcode`. Samples lie in an order shuffled once, so each shard is a fair draw. [info.json](info.json) holds what a
loader needs: splits with shards and counts, groups in label order, styles, image size, mean and standard deviation of
the training split.

## Splits

| split | what | shards | samples |
|---|---|---|---|
{split_rows}

`{held_out_style}` is held out: no drawing of it is in `train`. {held_concepts} concepts are held out in every style,
spread over the groups in proportion; the person, the man and the woman of one emoji are always on the same side. Sets
by the same hand are on the same side (Fluent flat and 3D; Noto and Noto v1).

| style | {split_names} |
|---|{split_rule}|
{style_rows}

| group | {split_names} |
|---|{split_rule}|
{group_rows}

## What is in and what is not

- A concept is an emoji that OpenMoji, Twemoji and at least one other hand draw.
- `component` holds the 26 regional indicator letters, which Unicode calls emoji components; emojibase gives them no
  group. The other components, skin tones and hair styles, have no drawings of their own in most of these sets.
- Left out: the mirrored "facing right" emoji; concepts that a set draws blank on white (the white large square);
  concepts that Twemoji draws like another (all families of one shape, flags of outlying territories: the shortest
  caption stays).
- Sets without code points (emojione, noto-v1) are matched by icon name: first to the names that other sets and CLDR use
  today, then to older names, then to Unicode's. Names that fit two emoji, and emoji that two drawings claim, are
  dropped.
- Left out: the country flags in the Fluent 3D package (Microsoft draws none, so whose they are is open), `fxemoji` (a
  third of an emoji set, under old names) and `emojione-v1` (see below).

## How alike the styles are

Mean absolute pixel difference (of 1) between two styles' drawings of one concept, both cut to what is drawn and scaled
to 24 px; beside it that of drawings of different concepts, and the share of near copies (difference below {near}). The
two Fluent sets are near copies of each other throughout. Of the sets looked at, `emojione-v1` is the closest to the
held-out style, flags and clock faces above all, and was left out for it. The training styles had {near_copies}
near copies of Twemoji between them (signs, plain shapes, a few hands); those drawings were taken out. So were
{repeats} drawings that equal another one pixel for pixel: some styles draw two concepts alike (the concept of the
shortest caption keeps the drawing), and some letters are the same in two styles.

| styles | of | concepts | same concept | different concepts | near copies |
|---|---|---|---|---|---|
{likeness_rows}
"""


def table_row(*cells: object) -> str:
    """One row of a Markdown table."""
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def write_licences(out: Path, texts: Path) -> None:
    """Write LICENSES.md and licenses/*.txt; the texts come unchanged from the SPDX list in the package at `texts`."""
    rows = []
    for style in STYLES:
        drawings = f"[{style.title}]({style.source})"
        package = f"`{style.package.name}` {style.package.version}"
        text = f"[{style.licence}](licenses/{style.licence}.txt)"
        rows.append(table_row(style.name, drawings, style.author, package, style.licence, text))
    document = LICENCES.format(rows="\n".join(rows), names=EMOJIBASE.name, names_version=EMOJIBASE.version)
    (out / "LICENSES.md").write_text(document, encoding="utf-8")
    folder = out / "licenses"
    folder.mkdir(exist_ok=True)
    for licence in sorted({style.licence for style in STYLES}):
        entry = json.loads((texts / "licenses" / f"{licence}.json").read_text(encoding="utf-8"))
        text = entry["licenseText"].replace(MIT_BLANK, "\n".join(MIT_NOTICES))
        (folder / f"{licence}.txt").write_text(text.rstrip() + "\n", encoding="utf-8")


def likeness_row(pair: Likeness) -> str:
    """One row of the table of likeness."""
    of = "flags" if pair.flags else "others"
    names = f"{pair.first}, {pair.second}"
    return table_row(names, of, pair.concepts, f"{pair.same:.3f}", f"{pair.other:.3f}", f"{pair.near_copies:.1%}")


def telling(pair: Likeness) -> bool:
    """Whether a pair belongs in the README: it has the held-out style in it, or a set left out, or is by one hand."""
    style_hands = {style.name: style.hand for style in STYLES}
    names = {pair.first, pair.second}
    if HELD_OUT_STYLE in names:
        return True
    return not names & set(LEFT_OUT) and style_hands[pair.first] == style_hands[pair.second]


def write_readme(
    out: Path,
    splits: Mapping[str, Sequence[Sample]],
    shards: Mapping[str, list[str]],
    table: Sequence[Likeness],
    near_copies: int,
    repeats: int,
    image_size: int,
) -> None:
    """Write README.md with the counts of what was built; `near_copies` and `repeats` drawings were taken
    out as such."""
    meaning = {
        TRAIN: "training styles, trained concepts",
        HELD_OUT_STYLE_SPLIT: f"{HELD_OUT_STYLE}, trained concepts",
        HELD_OUT_CONCEPTS_SPLIT: "held-out concepts, every style",
    }
    by_style = {split: Counter(sample.style for sample in samples) for split, samples in splits.items()}
    by_group = {split: Counter(sample.concept.group for sample in samples) for split, samples in splits.items()}
    groups = sorted({sample.concept.group for samples in splits.values() for sample in samples})
    codes = {split: {sample.concept.hexcode for sample in samples} for split, samples in splits.items()}
    size = sum((out / name).stat().st_size for names in shards.values() for name in names)
    document = README.format(
        total=sum(map(len, splits.values())),
        concepts=len(set[str]().union(*codes.values())),
        styles=len(STYLES),
        size=image_size,
        megabytes=size / 1e6,
        held_out_style=HELD_OUT_STYLE,
        near=NEAR_COPY,
        near_copies=near_copies,
        repeats=repeats,
        held_concepts=len(codes[HELD_OUT_CONCEPTS_SPLIT]),
        split_rows="\n".join(
            table_row(split, meaning[split], len(shards[split]), len(splits[split])) for split in splits
        ),
        split_names=" | ".join(splits),
        split_rule="|".join("---" for _ in splits),
        style_rows="\n".join(table_row(style.name, *(by_style[s][style.name] for s in splits)) for style in STYLES),
        group_rows="\n".join(table_row(group, *(by_group[s][group] for s in splits)) for group in groups),
        likeness_rows="\n".join(
            likeness_row(pair) for pair in sorted(table, key=lambda pair: pair.same / pair.other) if telling(pair)
        ),
    )
    (out / "README.md").write_text(document, encoding="utf-8")
