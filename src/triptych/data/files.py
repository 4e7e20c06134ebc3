"""Folders and files that a user names: found, or missed with a message that shows what there is."""

import difflib
from pathlib import Path

from triptych.data.source import BadSample
from triptych.errors import UserError
from triptych.plain import read_bytes


def require_folder(path: str | Path, what: str) -> Path:
    """`path` as an existing folder.

    Args:
        path: relative to the current working directory, or absolute; `~` is the home folder.
        what: name of the thing in messages, such as "image folder".

    Raises:
        UserError: there is no such folder; the message shows folders with near names.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise UserError(f"{what} {folder} is a file, not a folder: name the folder that holds it")
    parent = folder.parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    missing = folder.relative_to(parent).parts[0] if folder != parent else folder.name
    beside = sorted(entry.name for entry in parent.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    place = parent.resolve()
    raise UserError(f"{what} {folder} does not exist: {place} has no {missing!r}{suggest(missing, beside)}")


def require_file(path: str | Path, what: str) -> Path:
    """`path` as an existing file; else UserError, which shows files with near names."""
    file = Path(path).expanduser()
    if file.is_file():
        return file
    if file.is_dir():
        raise UserError(f"{what} {file} is a folder, not a file: name the file in it")
    folder = require_folder(file.parent, f"folder of the {what}")
    beside = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    raise UserError(
        f"{what} {file} does not exist: {folder.resolve()} has no {file.name!r}{suggest(file.name, beside)}"
    )


def read_sample_file(path: str | Path) -> bytes:
    """Bytes of a file that a sample lies in.

    Raises:
        BadSample: it cannot be opened.
    """
    try:
        return read_bytes(path)
    except OSError as error:
        raise BadSample(f"cannot be opened: {error.strerror}") from error


def suggest(name: str, known: list[str]) -> str:
    """End of a message: the near ones of `known`, or else a few of them."""
    near = difflib.get_close_matches(name.lower(), [entry.lower() for entry in known], n=3, cutoff=0.6)
    close = [entry for entry in known if entry.lower() in near]
    if close:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    if known:
        more = ", ..." if len(known) > 8 else ""
        return f"; there is {', '.join(map(repr, known[:8]))}{more}"
    return ""
