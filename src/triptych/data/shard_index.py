"""Where each member of a tar shard lies, found once and kept, so that shards are read at random and never extracted."""

import gzip
import hashlib
import io
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from triptych.errors import UserError
from triptych.plain import open_plain

SUFFIX = ".index"
VERSION = 1
COMPRESSED = (".tar.gz", ".tgz")
LARGEST_UNPACKED = 1 << 30
_SPARE = 1 << 24


@dataclass(frozen=True)
class ShardIndex:
    """Members of one tar, in its order, as parallel arrays.

    Attributes:
        keys: UTF-8 sample keys, one a sample: the member's path up to the first dot of its file name.
        kinds: the different endings, lower case, without the dot.
        sample: place in `keys`, one a member.
        kind: place in `kinds`, one a member.
        offset: first byte of the member's content in the tar.
        size: its bytes.
    """

    keys: np.ndarray
    kinds: list[str]
    sample: np.ndarray
    kind: np.ndarray
    offset: np.ndarray
    size: np.ndarray


def load_index(shard: Path) -> ShardIndex:
    """Index of `shard`: the one kept beside it or in the user's cache folder where still valid, else made and kept.

    An index is valid for the size and the time of change of its tar, so a rewritten shard is indexed again.

    Raises:
        UserError: the file cannot be read, is compressed, is no tar, or ends too early.
    """
    try:
        state = shard.stat()
    except OSError as error:
        raise UserError(f"shard {shard} cannot be read: {error.strerror}") from error
    stamp = (VERSION, state.st_size, state.st_mtime_ns)
    places = (shard.with_name(shard.name + SUFFIX), cache_folder() / (digest(str(shard.resolve())) + SUFFIX))
    index = kept_index(places, stamp)
    if index is not None:
        return index
    try:
        with shard.open("rb") as file:
            index = scan(str(shard), file, state.st_size)
    except OSError as error:
        raise UserError(f"shard {shard} cannot be read: {error.strerror or error}") from error
    keep_index(places, index, stamp)
    return index


def cache_folder() -> Path:
    """The folder in the user's cache that holds what is kept of shards."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "triptych" / "shards"


def digest(text: str) -> str:
    """A short name for a long one."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def kept_index(places: Sequence[Path], stamp: tuple[int, ...]) -> ShardIndex | None:
    """The index kept at the first of `places` that has one of this stamp."""
    return next((index for place in places if (index := _read(place, stamp)) is not None), None)


def keep_index(places: Sequence[Path], index: ShardIndex, stamp: tuple[int, ...]) -> None:
    """Keep `index` at the first of `places` that can be written to."""
    _ = any(_write(place, index, stamp) for place in places)


def unpack(shard: Path, title: str | None = None) -> tuple[bytes, ShardIndex]:
    """The whole of a compressed shard, unpacked in memory, and its index.

    Args:
        shard: the file.
        title: its name in messages, where it is not the file's.

    Raises:
        UserError: it is damaged, no tar, or larger than `LARGEST_UNPACKED` bytes.
    """
    title = title or str(shard)
    try:
        with gzip.open(shard) as file:
            content = file.read(LARGEST_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"shard {title} cannot be unpacked ({error}): copy or build it again") from error
    if len(content) > LARGEST_UNPACKED:
        raise UserError(
            f"shard {title} is more than {LARGEST_UNPACKED >> 20} MiB unpacked; compressed shards are kept in memory, "
            "so unpack it first (gunzip), and it will be read at random from the disk"
        )
    return content, scan(title, io.BytesIO(content), len(content))


def scan(shard: str, file: Any, total: int) -> ShardIndex:
    """Index of an open tar.

    Args:
        shard: its name, for messages.
        file: what it is read from, at any place.
        total: its bytes.

    Raises:
        UserError: no tar, or one that ends too early.
    """
    keys: list[str] = []
    kinds: dict[str, int] = {}
    rows: list[tuple[int, int, int, int]] = []
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if not member.isreg() or member.sparse is not None:
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, dot, ending = name.partition(".")
                if not stem or not dot:
                    continue
                if member.size < 0:
                    raise UserError(f"shard {shard}: member {member.name!r} has a size below 0: copy or build it again")
                if member.offset_data + member.size > total:
                    raise UserError(
                        f"shard {shard} is cut short: member {member.name} ends at byte "
                        f"{member.offset_data + member.size}, the file at byte {total}; copy or build it again"
                    )
                key = f"{folder}/{stem}" if folder else stem
                # As in WebDataset, the members of a sample lie side by side.
                if not keys or keys[-1] != key:
                    keys.append(key)
                kind = kinds.setdefault(ending.lower(), len(kinds))
                rows.append((len(keys) - 1, kind, member.offset_data, member.size))
    except (tarfile.TarError, EOFError, OverflowError, MemoryError, ValueError, zlib.error) as error:
        raise UserError(
            f"shard {shard} ({total} bytes) is not a readable tar ({error}): a damaged one must be copied or built "
            "again, a compressed one needs a name that ends in .tar.gz"
        ) from error
    names = [key.encode("utf-8", "surrogateescape") for key in keys]
    # As one array each name takes as much as the longest.
    if max(map(len, names), default=0) * len(names) + max(map(len, kinds), default=0) * len(kinds) > total + _SPARE:
        raise UserError(f"shard {shard} has names of members that are longer than what is in it: build it again")
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    return ShardIndex(
        keys=np.array(names, dtype=bytes),
        kinds=list(kinds),
        sample=table[:, 0].copy(),
        kind=table[:, 1].copy(),
        offset=table[:, 2].copy(),
        size=table[:, 3].copy(),
    )


def _read(place: Path, stamp: tuple[int, ...]) -> ShardIndex | None:
    """The index kept at `place`; None where there is none, or a stale or broken one."""
    try:
        with open_plain(place) as file:
            with zipfile.ZipFile(file) as parts:
                # It comes with the data, so it may be made to fill the memory.
                if any(part.compress_type != zipfile.ZIP_STORED for part in parts.infolist()):
                    return None
            file.seek(0)
            with np.load(file, allow_pickle=False) as kept:
                if tuple(kept["stamp"].tolist()) != stamp:
                    return None
                index = ShardIndex(
                    keys=kept["keys"],
                    kinds=kept["kinds"].tolist(),
                    sample=kept["sample"],
                    kind=kept["kind"],
                    offset=kept["offset"],
                    size=kept["size"],
                )
        return index if _fits(index, stamp[1]) else None
    except (OSError, ValueError, KeyError, EOFError, MemoryError, NotImplementedError, OverflowError, TypeError):
        return None
    except (zipfile.BadZipFile, zlib.error):
        return None


def _fits(index: ShardIndex, total: int) -> bool:
    """Whether an index is one of a tar of so many bytes: members point at samples and kinds that there are, and lie in
    it.
    """
    table = (index.sample, index.kind, index.offset, index.size)
    if not all(each.dtype == np.int64 and each.shape == index.sample.shape and each.ndim == 1 for each in table):
        return False
    if index.keys.dtype.kind != "S" or index.keys.ndim != 1 or not all(isinstance(each, str) for each in index.kinds):
        return False
    if not all((each >= 0).all() for each in table):
        return False
    ends = (index.sample < len(index.keys)).all() and (index.kind < len(index.kinds)).all()
    # Each for itself first: a sum could run over.
    return bool(ends and (index.size <= total).all() and (index.offset + index.size <= total).all())


def _write(place: Path, index: ShardIndex, stamp: tuple[int, ...]) -> bool:
    """Keep `index` at `place`, whole or not at all; False where that folder cannot be written to."""
    temporary = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".", suffix=SUFFIX, delete=False) as file:
            temporary = file.name
            np.savez(
                file,
                stamp=np.array(stamp, dtype=np.int64),
                keys=index.keys,
                kinds=np.array(index.kinds, dtype=str),
                sample=index.sample,
                kind=index.kind,
                offset=index.offset,
                size=index.size,
            )
        os.replace(temporary, place)
    except OSError:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        return False
    return True
