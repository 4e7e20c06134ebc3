"""Files that survive a kill or a power cut: nothing counts as written until it and its folder are on disk.

The order that makes this true (POSIX promises no other): write under a temporary name, fsync the file, fsync the
folder that holds it, rename, fsync the parent. A rename is atomic, so a reader sees the old state or the new one and
never a half; the fsync of the parent makes the rename itself survive a power cut.
"""

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from triptych.errors import UserError

STAGING = ".tmp-"


@dataclass(frozen=True)
class Written:
    """What a file must still be when it is read again: SHA-256 of its bytes (hex) and its size in bytes."""

    sha256: str
    size: int


def fsync_folder(folder: Path) -> None:
    """Make the entries of `folder` (names created, renamed, removed) durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems have no fsync for folders and are synchronous in their metadata instead.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create `folder` and its parents, each made durable; does nothing where it exists."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
    fsync_folder(folder.parent)


def write_file(path: Path, chunks: Iterable[bytes | memoryview]) -> Written:
    """Write a new file and fsync it; hashed on the way, so that it need not be read again."""
    digest, size = hashlib.sha256(), 0
    with open(path, "xb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return Written(digest.hexdigest(), size)


def staging_path(final: Path) -> Path:
    """A free temporary name beside `final`: the same folder, so that the rename never crosses a mount."""
    return final.parent / f"{STAGING}{final.name}-{os.getpid()}-{time.monotonic_ns()}"


def shared_staging(final: Path) -> Path:
    """The temporary name of `final` that all processes of a run know; who holds the `RunLock` clears it beforehand."""
    return final.parent / f"{STAGING}{final.name}-shared"


@contextmanager
def new_folder(final: Path, staging: Path | None = None) -> Iterator[Path]:
    """A folder to fill that becomes `final` all at once when the block ends well, and vanishes when it fails.

    `staging` is its temporary name beside `final`, which others may have made already; None for one that is free.

    Raises:
        UserError: `final` exists; nothing is ever overwritten.
    """
    make_folder(final.parent)
    if os.path.lexists(final):
        raise UserError(f"{final} exists already and is not overwritten; save under another name or remove it")
    shared = staging is not None
    staging = staging or staging_path(final)
    current = staging
    try:
        staging.mkdir(exist_ok=shared)
        yield staging
        fsync_folder(staging)
        os.rename(staging, final)
        current = final
        fsync_folder(final.parent)
    except BaseException:
        # Also on Ctrl-C: what was not acknowledged leaves nothing behind.
        shutil.rmtree(current, ignore_errors=True)
        raise


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
        with suppress(OSError):
            staging.unlink()
        raise
    fsync_folder(path.parent)


def publish_link(link: Path, target: str) -> None:
    """Point the relative symlink `link` at its sibling `target`, atomically and durably."""
    staging = staging_path(link)
    try:
        os.symlink(target, staging)
        os.replace(staging, link)
    except BaseException:
        with suppress(OSError):
            staging.unlink(missing_ok=True)
        raise
    fsync_folder(link.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder so that a kill in the middle leaves a `.tmp-` leftover and never a half that looks whole."""
    doomed = staging_path(folder)
    os.rename(folder, doomed)
    shutil.rmtree(doomed)


def clean_staging(folder: Path) -> list[str]:
    """Remove what crashed saves left in `folder` (its `.tmp-` entries); returns their names.

    Only for who holds the folder's `RunLock`: a save under way looks the same as a leftover.
    """
    leftovers = sorted(entry.name for entry in folder.glob(f"{STAGING}*"))
    for name in leftovers:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return leftovers


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write in `folder`'s file system (its nearest existing parent's)."""
    while not folder.exists():
        folder = folder.parent
    stats = os.statvfs(folder)
    return stats.f_bavail * stats.f_frsize


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
