"""Copies of fetched shards on this machine's disk: a folder of bounded size that all processes share."""

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from triptych.data.shard_store import OpenFiles

Result = TypeVar("Result")
_OWN = re.compile(r"[0-9a-f]{32}\.tar")
Fetch = Callable[[str], object]
"""Writes a shard to the path that it is given."""


class Copies:
    """Files that are fetched when they are first wanted, and make room for others when they were not for long.

    Args:
        folder: of the copies.
        limit: bytes that they may take together.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._files = OpenFiles()
        self._marked: dict[str, float] = {}

    def read(self, name: str, fetch: Fetch, offset: int, size: int) -> bytes:
        """Bytes of the copy `name`; BadSample where it ends before."""
        path = str(self.folder / name)
        if path in self._files and self._used(path):
            return self._files.read(path, offset, size)
        self._files.forget(path)  # another process removed it: its space is free when nobody has it open
        return self.use(name, fetch, lambda copy: self._files.read(str(copy), offset, size))

    def use(self, name: str, fetch: Fetch, act: Callable[[Path], Result]) -> Result:
        """What `act` gives of a copy, which nobody removes meanwhile.

        Of several processes that want it, one fetches it and the others wait. The kernel takes the lock from a
        process that dies, so that nobody waits for that.
        """
        copy = self.folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        with _lock(copy).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not copy.exists():
                self._fetch(copy, fetch)
                self._make_room(copy)
            result = act(copy)
            self._used(str(copy))
        return result

    def _fetch(self, copy: Path, fetch: Fetch) -> None:
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".", suffix=".part", delete=False) as part:
            temporary = Path(part.name)
        try:
            fetch(str(temporary))
            os.replace(temporary, copy)
        finally:
            temporary.unlink(missing_ok=True)

    def _make_room(self, newest: Path) -> None:
        """Remove copies, those used longest ago first, until the rest fit; one that is in use stays."""
        kept = []
        # The folder is named in a configuration: nothing goes that was not put there here.
        for path in (each for each in self.folder.glob("*.tar") if _OWN.fullmatch(each.name)):
            with suppress(FileNotFoundError):  # another process makes room too
                facts = path.stat()
                kept.append((facts.st_mtime, facts.st_size, path))
        total = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= self.limit:
                break
            if path == newest:
                continue
            with _lock(path).open("w") as lock, suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
                total -= size
        self._files.forget_removed()

    def _used(self, path: str) -> bool:
        """Marks a copy as used now, at most once a second; False where it has been removed."""
        now = time.monotonic()
        if now - self._marked.get(path, -1.0) < 1:
            return True
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        except OSError:  # a folder that this user may only read
            pass
        self._marked[path] = now
        return True


def _lock(copy: Path) -> Path:
    return copy.with_suffix(".lock")
