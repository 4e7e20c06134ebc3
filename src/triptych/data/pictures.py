"""Picture files that a user names: one, a folder of them, or a pattern."""

import glob
import os
from pathlib import Path

from triptych.data.decode import EXTENSIONS
from triptych.data.files import suggest
from triptych.errors import UserError


def find_pictures(place: str | Path) -> list[Path]:
    """The files that `place` means, by name: the file itself, the pictures at any depth of a folder, or what a
    pattern (`*`, `?`, `[...]`, `**`) matches.

    Raises:
        UserError: nothing there; the message says what is near.
    """
    path = Path(place).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [each for each in _files_below(path) if each.suffix[1:].lower() in EXTENSIONS]
        if not found:
            raise UserError(f"there are no pictures in the folder {path}: files that end in {', '.join(EXTENSIONS)}")
        return found
    if glob.has_magic(str(path)):
        matched = sorted(each for each in map(Path, glob.glob(str(path), recursive=True)) if each.is_file())
        if not matched:
            raise UserError(f"no file matches {path}; put a pattern in quotes, so that the shell leaves it alone")
        return matched
    beside = sorted(each.name for each in path.parent.iterdir()) if path.parent.is_dir() else []
    where = suggest(path.name, beside) if path.parent.is_dir() else f", nor does its folder {path.parent}"
    raise UserError(f"the picture {path} does not exist{where}")


def _files_below(folder: Path) -> list[Path]:
    found = []
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place) / name for name in files if not name.startswith(".")]
    return sorted(found)
