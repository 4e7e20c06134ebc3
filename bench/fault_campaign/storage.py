"""File systems of their own for a run: ext4 on a loop device, which power can be taken from, and one in memory."""

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .fault import NotHere

IMAGE_MEGABYTES = 48
MEMORY_MEGABYTES = 16
_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_LOSE_LOG = 2  # nothing more is written, the journal neither
_OPTIONS = {"ext4": "loop", "writeback": "loop,data=writeback"}


@contextmanager
def mounted(kind: str, place: Path) -> Iterator[Path]:
    """A new file system at `place/mount`; gone at the end."""
    mount = place / "mount"
    mount.mkdir()
    if kind == "tmpfs":
        _do("mount", "-t", "tmpfs", "-o", f"size={MEMORY_MEGABYTES}m", "tmpfs", str(mount))
    else:
        image = place / "image"
        with open(image, "wb") as file:
            file.truncate(IMAGE_MEGABYTES << 20)
        _do("mkfs.ext4", "-q", "-E", "lazy_itable_init=0", str(image))
        _do("mount", "-o", _OPTIONS[kind], str(image), str(mount))
    try:
        yield mount
    finally:
        if os.path.ismount(mount):
            _do("umount", str(mount))
        shutil.rmtree(mount, ignore_errors=True)
        (place / "image").unlink(missing_ok=True)


def mount_again(kind: str, place: Path) -> None:
    """As a machine does that starts again: the journal is read, and what it lacks is gone."""
    _do("umount", str(place / "mount"))
    subprocess.run(["e2fsck", "-p", str(place / "image")], capture_output=True, check=False)  # as a start of Linux does
    _do("mount", "-o", _OPTIONS[kind], str(place / "image"), str(place / "mount"))


def cut_power(mount: Path) -> None:
    """From now on nothing reaches the disk, not even what was written before and not yet synced."""
    descriptor = os.open(mount, os.O_RDONLY)
    fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _LOSE_LOG))
    os.close(descriptor)


def turn_read_only(mount: Path) -> None:
    """As ext4 does by itself when the disk below it fails."""
    device = Path(subprocess.run(["findmnt", "-no", "SOURCE", str(mount)], capture_output=True, text=True,
                                 check=True).stdout.strip()).name  # fmt: skip
    trigger = Path(f"/sys/fs/ext4/{device}/trigger_fs_error")
    subprocess.run(["mount", "-o", "remount,errors=remount-ro", str(mount)], check=True)
    trigger.write_text("fault campaign")


def fill(folder: Path, leave: int) -> None:
    """Takes all room but so many bytes."""
    stats = os.statvfs(folder)
    size = max(0, stats.f_bavail * stats.f_frsize - leave)
    with open(folder / "ballast", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def _do(*command: str) -> None:
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NotHere(f"{command[0]} is not installed") from error
    if found.returncode:
        raise NotHere(f"{' '.join(command[:4])}: {found.stderr.strip()}")
