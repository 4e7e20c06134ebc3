"""Small files that are either whole or not there."""

import contextlib
import os
from pathlib import Path

from triptych.checkpoints.files import fsync_folder, staging_path


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a small file so that a kill or a power cut leaves the old content or the new one, never a part.

    The content goes to a temporary in the same folder, is synced, renamed over `path`, and the folder is synced.

    Raises:
        OSError: the folder is missing, read-only or full; `path` is then unchanged and no temporary is left.
    """
    data = content.encode() if isinstance(content, str) else content
    staging = staging_path(path)
    try:
        with open(staging, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staging, path)
    except BaseException:
        with contextlib.suppress(OSError):
            staging.unlink()
        raise
    fsync_folder(path.parent)


def file_name(name: str) -> str:
    """A name of the user's choice as a part of a file's name."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
