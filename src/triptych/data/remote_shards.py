"""Tars behind a URL of any kind that fsspec knows: fetched one by one into a folder of bounded size, read there."""

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from triptych.data.files import suggest
from triptych.data.shard_copies import Copies
from triptych.data.shard_index import (
    COMPRESSED,
    SUFFIX,
    VERSION,
    ShardIndex,
    cache_folder,
    digest,
    keep_index,
    kept_index,
    scan,
    unpack,
)
from triptych.data.shard_store import expanded, is_pattern
from triptych.data.source import BadSample
from triptych.data.urls import open_url, reason_of
from triptych.errors import UserError

log = logging.getLogger("triptych.data")

TRIES = 3
"""A fetch is tried this often, with growing pauses between."""

PAUSE = 1.0
"""Seconds before the second try; each pause is twice the one before."""

GIVEN_UP = 60.0
"""Seconds for which a shard that could not be fetched is not asked for again: its samples are skipped and counted."""

_INDEXED_AT_ONCE = 16
_VERSIONS = ("ETag", "etag", "mtime", "LastModified", "Last-Modified", "last_modified", "updated", "created")


class RemoteShards:
    """Tars behind a URL.

    What lies where in each is found once and kept in the user's cache folder. The tars themselves are fetched whole
    into a folder that all processes of a machine share, one after the other as training needs them; those used longest
    ago make room. With `keep_gb=0` nothing is kept: each member is a range request of its own, for data that are read
    rarely or at random.

    A shard that cannot be fetched costs its samples, each skipped, counted and named, not the run.

    Args:
        root: URL of the folder, such as `s3://bucket/folder` or `https://host/folder`.
        pattern: of file names in it; `{000000..000099}` stands for numbers. A server that lists no files (most of
            `https`) needs ranges instead of `*`.
        keep_gb: 10^9 bytes of tars to keep on the disk.
        keep: folder for them; None: in the user's cache folder.

    Raises:
        UserError: an unknown kind of URL, a missing package, no such file, or a broken tar.
    """

    remote = True

    def __init__(self, root: str, pattern: str, keep_gb: float | int = 20, keep: str | None = None) -> None:
        if keep_gb < 0:
            raise UserError(f"keep_gb is {keep_gb}; it must not be negative")
        self._root = root.rstrip("/")
        self._limit = int(keep_gb * 1e9)
        folder = Path(keep).expanduser() if keep is not None else cache_folder() / "fetched"
        self._copies = Copies(folder, self._limit)
        self._system: tuple[int, Any] = (-1, None)
        self._failed: dict[int, tuple[float, str]] = {}
        self._unpacked: dict[int, bytes] = {}
        self._copy_names: dict[int, str] = {}
        self._sizes: dict[int, int] = {}
        self._paths = self._list(pattern)
        self.names = [f"{self._root}/{path.rpartition('/')[2]}" for path in self._paths]
        with ThreadPoolExecutor(min(_INDEXED_AT_ONCE, len(self._paths))) as pool:
            self.indices = list(pool.map(self._index, range(len(self._paths))))

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Bytes of a shard, which is fetched where it is not there.

        Raises:
            BadSample: it cannot be fetched, or ends before.
        """
        if shard in self._unpacked:
            return self._unpacked[shard][offset : offset + size]
        if self._limit:
            name, fetch = self._copy_names[shard], self._fetch(shard)
            return self._trying(shard, lambda: self._copies.read(name, fetch, offset, size))
        data = self._trying(shard, lambda: self._fs.cat_file(self._paths[shard], start=offset, end=offset + size))
        if len(data) != size:
            raise BadSample(f"{len(data)} of its {size} bytes came from {self.names[shard]}")
        return data

    def check_room(self, shards_at_once: int) -> None:
        """Tells a setting with which shards would be fetched again and again.

        Raises:
            UserError: the shards that are mixed at a time, and the next ones, do not fit into `keep_gb`.
        """
        needed = sum(sorted(self._sizes.values(), reverse=True)[: 2 * shards_at_once])
        if 0 < self._limit < needed:
            raise UserError(
                f"keep_gb={self._limit / 1e9:g} has no room for the shards that are mixed at a time and the next ones "
                f"(2 x {shards_at_once}, {needed / 1e9:.3g} GB): raise keep_gb, lower shards_at_once, or set keep_gb=0 "
                "to read each picture by a request of its own"
            )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_system": (-1, None)}

    @property
    def _fs(self) -> Any:
        """The file system, opened in this process: connections and their threads do not outlive a fork."""
        if self._system[0] != os.getpid():
            self._system = (os.getpid(), open_url(self._root)[0])
        return self._system[1]

    def _fetch(self, shard: int) -> Callable[[str], object]:
        return lambda path: self._fs.get_file(self._paths[shard], path)

    def _list(self, pattern: str) -> list[str]:
        base = open_url(self._root)[1].rstrip("/")
        found: set[str] = set()
        for each in expanded(pattern):
            if not is_pattern(each):
                found.add(f"{base}/{each}")
                continue
            try:
                found.update(str(path) for path in self._fs.glob(f"{base}/{each}") if not str(path).endswith(SUFFIX))
            except Exception as error:  # whatever a foreign file system raises, there is no list
                raise UserError(f"{self._root} cannot be listed: {reason_of(error)}{_ranges(each)}") from error
        if found:
            return sorted(found)
        listed: list[str] = []
        with suppress(Exception):
            listed = sorted(str(path).rpartition("/")[2] for path in self._fs.ls(base, detail=False))
        tars = [name for name in listed if ".tar" in name and not name.endswith(SUFFIX)]
        raise UserError(f"no file in {self._root} matches {pattern!r}{suggest(pattern, tars) or _ranges(pattern)}")

    def _index(self, shard: int) -> ShardIndex:
        path, name = self._paths[shard], self.names[shard]
        try:
            facts = self._fs.info(path)
        except FileNotFoundError as error:
            raise UserError(f"shard {name} does not exist: the range of data.train.shards names it") from error
        except Exception as error:  # of any file system
            raise UserError(f"shard {name} cannot be reached: {reason_of(error)}") from error
        total = facts.get("size")
        version = next((str(facts[key]) for key in _VERSIONS if facts.get(key) is not None), "")
        stamp = (VERSION, int(total or 0), int(digest(version)[:15], 16))
        self._sizes[shard] = int(total or 0)
        self._copy_names[shard] = digest(f"{name} {stamp}") + ".tar"
        if path.endswith(COMPRESSED):
            return self._open_compressed(shard)
        places = [cache_folder() / (digest(name) + SUFFIX)]
        index = kept_index(places, stamp)
        if index is not None:
            return index
        log.info("making the index of %s, once", name)
        try:
            if self._limit:
                index = self._copies.use(self._copy_names[shard], self._fetch(shard), lambda copy: _scanned(name, copy))
            else:
                with self._fs.open(path, "rb") as file:
                    index = scan(name, file, int(total or file.size))
        except UserError:
            raise
        except Exception as error:  # of any file system
            raise UserError(f"shard {name} cannot be read: {reason_of(error)}") from error
        keep_index(places, index, stamp)
        return index

    def _open_compressed(self, shard: int) -> ShardIndex:
        try:
            self._unpacked[shard], index = self._copies.use(
                self._copy_names[shard], self._fetch(shard), lambda copy: unpack(copy, self.names[shard])
            )
        except UserError:
            raise
        except Exception as error:  # of any file system
            raise UserError(f"shard {self.names[shard]} cannot be read: {reason_of(error)}") from error
        return index

    def _trying(self, shard: int, act: Callable[[], bytes]) -> bytes:
        """What `act` gives; BadSample where it fails again and again."""
        since, reason = self._failed.get(shard, (-GIVEN_UP, ""))
        if time.monotonic() - since < GIVEN_UP:
            raise BadSample(reason)
        for attempt in range(TRIES):
            try:
                return act()
            except BadSample:
                raise
            except Exception as error:  # networks and foreign file systems raise what they like
                reason = f"{self.names[shard]} cannot be fetched: {reason_of(error)}"
                if isinstance(error, FileNotFoundError):
                    break
            if attempt + 1 < TRIES:
                time.sleep(PAUSE * 2**attempt)
        self._failed[shard] = (time.monotonic(), reason)
        raise BadSample(reason)


def _scanned(name: str, copy: Path) -> ShardIndex:
    with copy.open("rb") as file:
        return scan(name, file, copy.stat().st_size)


def _ranges(pattern: str) -> str:
    return f". A server that lists no files needs a range: {pattern.replace('*', '{000000..000099}')}"
