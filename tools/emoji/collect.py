"""All drawings of all styles as pictures, by style and code key."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from . import packages
from .concepts import Concept, code_key
from .drawings import draw_file, draw_icon
from .icons import IconSet, load_icon_set
from .names import match, tiers
from .packages import Package, fetch

Pictures = dict[str, dict[str, Image.Image]]  # style -> code key -> picture

WITH_CODES = (packages.NOTO, packages.TWEMOJI, packages.OPENMOJI, packages.FLUENT_FLAT)
COUNTRY_FLAG = "country-flag"


def name_codes(
    sets: Mapping[Package, IconSet], concepts: list[Concept], emojibase: Path
) -> dict[Package, dict[str, str]]:
    """Code key -> icon name for each set: from its own table, or by matching names where it has none."""
    unicode_names = json.loads((emojibase / "meta" / "unicode-names.json").read_text(encoding="utf-8"))
    known = tiers(concepts, [sets[package] for package in WITH_CODES if package in sets], unicode_names)
    return {package: icons.characters or match(icons, known) for package, icons in sets.items()}


def bitmaps(folder: Path, concepts: Iterable[Concept]) -> dict[str, Path]:
    """Code key -> file of Fluent 3D. Country flags are left out: Microsoft draws none."""
    wanted = {code_key(concept.hexcode) for concept in concepts if concept.subgroup != COUNTRY_FLAG}
    files = {code_key(path.stem): path for path in sorted((folder / "assets").glob("*.webp"))}
    return {code: path for code, path in files.items() if code in wanted}


def collect(styles: Mapping[str, Package], concepts: list[Concept], cache: Path, size: int, renderer: Any) -> Pictures:
    """Fetch the packages of `styles` and draw every concept that they have, `size` pixels wide and high."""
    drawn = {package for package in styles.values() if package != packages.FLUENT_3D}
    sets = {package: load_icon_set(fetch(package, cache)) for package in sorted(drawn | set(WITH_CODES), key=str)}
    codes = name_codes(sets, concepts, fetch(packages.EMOJIBASE, cache))
    wanted = [code_key(concept.hexcode) for concept in concepts]
    pictures: Pictures = {}
    for style, package in styles.items():
        if package == packages.FLUENT_3D:
            files = bitmaps(fetch(package, cache), concepts)
            pictures[style] = {code: draw_file(path, size) for code, path in files.items()}
        else:
            icons, names = sets[package].icons, codes[package]
            pictures[style] = {code: draw_icon(icons[names[code]], size, renderer) for code in wanted if code in names}
    return pictures
