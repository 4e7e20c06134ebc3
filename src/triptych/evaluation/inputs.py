"""The images or sounds that `input` names: a file, a folder, a pattern, or standard input."""

import glob
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from triptych.data.files import suggest
from triptych.data.folder import files_in
from triptych.data.medium import Medium, Pictures
from triptych.data.source import BadSample
from triptych.errors import UserError
from triptych.plain import read_bytes

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Input:
    """One image or sound to be: its name, and how to get its bytes (`BadSample` where that fails)."""

    name: str
    read: Callable[[], bytes]


def find_inputs(
    given: str, standard_input: Callable[[], bytes], key: str = "input", medium: Medium | None = None
) -> list[Input]:
    """The images, or files of another medium, that `given` names, in the order of their names (of a list: in its
    order).

    A file is taken whatever its name ends in; of a folder, at any depth, the files that end as those do. Standard
    input is one where it holds a zero byte, as every format of image or sound does and no list of files, else that
    list, one a line. `key` is the setting's name, for messages.

    Raises:
        UserError: nothing there; the message names what is near.
    """
    medium = medium or Pictures()
    if given == STANDARD_INPUT:
        return _of_standard_input(standard_input(), key, medium)
    path = Path(given).expanduser()
    if path.is_dir():
        found = files_in(path, medium.extensions)
        if not found:
            raise UserError(
                f"{key}={given} is a folder without {medium.many}: files that end in "
                f"{', '.join(medium.extensions)} are read"
            )
        return [_file(name) for name in found]
    if path.exists():
        return [_file(str(path))]
    matches = sorted(name for name in glob.glob(str(path), recursive=True) if not os.path.isdir(name))
    if matches:
        return [_file(name) for name in matches]
    if glob.has_magic(given):
        raise UserError(f"{key}={given} matches no file (in {Path.cwd()}); ** matches folders at any depth")
    parent = path.parent if path.parent.is_dir() else Path()
    raise UserError(
        f"{key}={given} does not exist{suggest(path.name, sorted(entry.name for entry in parent.iterdir()))}"
    )


def _of_standard_input(data: bytes, key: str, medium: Medium) -> list[Input]:
    if not data.strip():
        article = "an" if medium.one[0] in "aeiou" else "a"
        raise UserError(
            f"{key}=- reads standard input, and there was nothing: pipe {article} {medium.one} or a list of files into "
            "it"
        )
    if b"\0" in data:
        return [Input("standard input", lambda: data)]
    names = [line.strip() for line in os.fsdecode(data).splitlines()]
    return [_file(name) for name in names if name]


def _file(name: str) -> Input:
    def read() -> bytes:
        try:
            return read_bytes(name)
        except OSError as error:
            raise BadSample(f"cannot be opened: {error.strerror}") from error

    return Input(name, read)
