"""What somebody else may have written, read within bounds: files that are files, YAML and JSON as plain data.

A name in a folder may be a pipe that never ends, a device that has no end, or a link to one; a few lines of YAML may
stand for 10^9 nodes, and ones that are nested deeply end the program in whatever walks over them.
"""

import errno
import json
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

import yaml

from triptych.errors import UserError

LARGEST_TEXT = 16 << 20
"""Bytes of a configuration, or of what a run says of itself."""

MOST_NODES = 2_000_000
"""Of such a file, each counted as often as it is referred to."""

DEEPEST = 64

LARGEST_FILE = 4 << 30
"""Bytes of one sample's file."""


def read_bytes(path: str | Path, largest: int = LARGEST_FILE) -> bytes:
    """The content of a regular file, behind links too.

    Raises:
        OSError: it cannot be opened, is a pipe, a device or a folder, or is larger than `largest` bytes.
    """
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > largest:
            raise OSError(errno.EFBIG, f"{size} bytes are above the limit of {largest}", str(path))
        return file.read(size)  # Python sets as much memory aside as it is told


def open_plain(path: str | Path) -> BufferedReader:
    """A regular file, opened for reading.

    Raises:
        OSError: it cannot be opened, or is a pipe, a device or a folder.
    """
    # Without O_NONBLOCK a pipe that nobody writes to would be waited for here.
    file = open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    return file


def read_yaml(path: Path) -> Any:
    """A YAML file as plain data: nothing but mappings, lists and scalars, nothing that is still to be looked up.

    Raises:
        UserError: it cannot be read, is too large or too deep, or holds an interpolation (`${...}`).
    """
    text = _text(path)
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no readable YAML: {_first(error)}") from error
    check_plain(found, path)
    return found


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        UserError: it cannot be read, or is too large or too deep.
    """
    text = _text(path)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no readable JSON: {_first(error)}") from error
    check_bounds(found, path)
    return found


def check_plain(tree: Any, path: Path) -> None:
    """`check_bounds`, and a look at every text.

    Raises:
        UserError: too large, too deep, or an interpolation, by which a file could read the environment.
    """
    check_bounds(tree, path)
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            todo += [*node, *node.values()]
        elif isinstance(node, list):
            todo += node
        elif isinstance(node, str) and "${" in node:
            raise UserError(
                f"{path} holds {node[:80]!r}: an interpolation, which could still become anything; a run saves its "
                "values, so write the value there"
            )


def check_bounds(tree: Any, path: Path, most: int = MOST_NODES) -> None:
    """Counts the nodes of a tree of lists and mappings, shared ones as often as they stand there.

    Raises:
        UserError: more than `most`, or nested deeper than `DEEPEST`.
    """
    count, todo = 0, [(tree, 0)]
    while todo:
        node, depth = todo.pop()
        count += 1
        if count > most or depth > DEEPEST:
            limit = f"more than {most} entries" if count > most else f"entries nested deeper than {DEEPEST}"
            raise UserError(f"{path} holds {limit}, which no file of this kind does: it is damaged, or a trap")
        if isinstance(node, dict):
            todo += [(value, depth + 1) for value in node.values()]
        elif isinstance(node, list):
            todo += [(value, depth + 1) for value in node]


def _text(path: Path) -> str:
    try:
        return read_bytes(path, LARGEST_TEXT).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
