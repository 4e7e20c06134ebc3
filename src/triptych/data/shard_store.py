"""The tars of a data set, wherever they lie, read at any place: what sources of labels and of captions share."""

import glob
import os
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from triptych.data.files import require_folder, suggest
from triptych.data.shard_index import COMPRESSED, SUFFIX, ShardIndex, load_index, unpack
from triptych.data.source import BadSample
from triptych.errors import UserError

_OPEN_FILES = 128
"""Descriptors that a process keeps; the usual limit is 1,024 for all that it opens."""


@runtime_checkable
class ShardStore(Protocol):
    """Shards by number.

    Attributes:
        names: path or address of each.
        indices: the members of each.
        remote: they are fetched, so that it is better to read one after the other.
    """

    @property
    def names(self) -> list[str]: ...

    @property
    def indices(self) -> list[ShardIndex]: ...

    @property
    def remote(self) -> bool: ...

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """`size` bytes of a shard, from `offset` on; BadSample where there are less, or none can be had."""
        ...


class OpenFiles:
    """Reads of files at any place. Each process opens its own, the least recently used are closed."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, int] = OrderedDict()
        self._process = os.getpid()

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Bytes of a file; BadSample where it ends before."""
        # Positions are given to each read, so a descriptor that a fork shares would do; but one that a worker opened
        # is its own to close, and a copy in another process must not trust numbers that mean nothing there.
        if self._process != os.getpid():
            self._files, self._process = OrderedDict(), os.getpid()
        if path not in self._files:
            self._files[path] = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            if len(self._files) > _OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
        self._files.move_to_end(path)
        data = os.pread(self._files[path], size, offset)
        if len(data) != size:
            raise BadSample(f"the shard ends after {len(data)} of its {size} bytes")
        return data

    def __contains__(self, path: str) -> bool:
        return self._process == os.getpid() and path in self._files

    def forget(self, path: str) -> None:
        """Close a file."""
        if path in self:
            os.close(self._files.pop(path))

    def forget_removed(self) -> None:
        """Close files that have been removed, so that their space is free."""
        for path in [path for path in self._files if path in self and not os.path.exists(path)]:
            self.forget(path)

    def __getstate__(self) -> dict[str, Any]:
        return {"_files": OrderedDict(), "_process": -1}


class LocalShards:
    """Tars in a folder. Compressed ones (`.tar.gz`) are unpacked in memory.

    Args:
        root: the folder.
        pattern: of file names in it, such as `train-*.tar` or `train-{000000..000099}.tar`; they are read in the order
            of their names.

    Raises:
        UserError: no such folder or file, or a broken tar.
    """

    remote = False

    def __init__(self, root: str, pattern: str) -> None:
        self.folder = folder = require_folder(root, "shard folder")
        found = {path for each in expanded(pattern) for path in folder.glob(each) if not path.name.endswith(SUFFIX)}
        self.paths = sorted(found)
        if not self.paths:
            tars = sorted(entry.name for entry in folder.glob("*.tar*") if not entry.name.endswith(SUFFIX))
            raise UserError(f"no file in {folder.resolve()} matches {pattern!r}{suggest(pattern, tars)}")
        self.names = [str(path) for path in self.paths]
        self._files = OpenFiles()
        self._unpacked: dict[int, bytes] = {}
        self.indices = [self._index(shard) for shard in range(len(self.paths))]

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Bytes of a shard."""
        if shard in self._unpacked:
            return self._unpacked[shard][offset : offset + size]
        return self._files.read(self.names[shard], offset, size)

    def _index(self, shard: int) -> ShardIndex:
        path = self.paths[shard]
        if not path.name.endswith(COMPRESSED):
            return load_index(path)
        self._unpacked[shard], index = unpack(path)
        return index


_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def expanded(pattern: str) -> list[str]:
    """The patterns that a pattern with ranges such as `{000000..000099}` stands for.

    Raises:
        UserError: a range that ends before it begins.
    """
    found = _RANGE.search(pattern)
    if found is None:
        return [pattern]
    first, last = found.groups()
    if int(last) < int(first):
        raise UserError(f"the range {found[0]} of the shards {pattern!r} ends before it begins")
    before, after = pattern[: found.start()], expanded(pattern[found.end() :])
    numbers = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return [before + number + rest for number in numbers for rest in after]


def is_pattern(name: str) -> bool:
    """Whether files have to be listed to know what a name stands for."""
    return glob.has_magic(name)


class Samples(NamedTuple):
    """The samples of all shards that have a member of the first group.

    Attributes:
        table: int64 `(samples, 1 + 2 * groups)`: shard, then offset and size of each group's member, -1 for none.
        keys: of the samples of each shard.
        starts: place of each shard's first sample in `table`.
    """

    table: np.ndarray
    keys: list[np.ndarray]
    starts: np.ndarray

    def key(self, index: int) -> str:
        """Key of a sample."""
        shard = int(self.table[index, 0])
        return bytes(self.keys[shard][index - self.starts[shard]]).decode("utf-8", "backslashreplace")

    def member(self, index: int, group: int) -> tuple[int, int, int]:
        """Shard, offset and size of a sample's member."""
        row = self.table[index]
        return int(row[0]), int(row[1 + 2 * group]), int(row[2 + 2 * group])


def gather(store: ShardStore, groups: Sequence[Sequence[str]], many: str = "images") -> Samples:
    """One row a sample over all shards: which tar, and where its members lie.

    Args:
        store: the shards.
        groups: endings of members; of each group a sample's first one is taken. What has no member of the first group
            is no sample.
        many: what the members of the first group are, for messages.

    Raises:
        UserError: there is no sample.
    """
    rows, keys = [], []
    for shard, index in enumerate(store.indices):
        table = np.full((len(index.keys), 1 + 2 * len(groups)), -1, dtype=np.int64)
        table[:, 0] = shard
        for group, endings in enumerate(groups):
            # Later assignments win, so the first ending is written last.
            for kind in reversed(endings):
                if kind in index.kinds:
                    members = np.flatnonzero(index.kind == index.kinds.index(kind))
                    columns = slice(1 + 2 * group, 3 + 2 * group)
                    table[index.sample[members], columns] = np.stack((index.offset, index.size), axis=1)[members]
        held = table[:, 1] >= 0
        rows.append(table[held])
        keys.append(index.keys[held])
    samples = Samples(np.concatenate(rows), keys, np.cumsum([0, *map(len, keys)]))
    if not len(samples.table):
        kinds = sorted({kind for index in store.indices for kind in index.kinds})
        raise UserError(
            f"no {many} in {len(store.names)} shards such as {store.names[0]}: members end in "
            f"{', '.join(kinds) or 'nothing'}, {many} in {', '.join(groups[0])}"
        )
    return samples
