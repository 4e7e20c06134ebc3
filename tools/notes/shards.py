"""WebDataset shards that are the same bytes on each run: fixed order, times, owners, modes and compression.

They are `.tar.gz`: the headers of Vorbis, 4 KB in each file, are nearly the same in all, and those of tar too.
"""

import gzip
import io
import json
import math
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHARD_BYTES = 1_500_000
COMPRESSION = 9


@dataclass(frozen=True)
class Sample:
    """One note as it is stored."""

    key: str
    ogg: bytes
    fields: dict[str, Any]

    def members(self) -> list[tuple[str, bytes]]:
        """Names and bytes of its files."""
        text = json.dumps(self.fields, ensure_ascii=False, separators=(",", ":"))
        return [(f"{self.key}.ogg", self.ogg), (f"{self.key}.json", text.encode())]


def pack(samples: Sequence[Sample]) -> bytes:
    """One shard, compressed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            for name, data in sample.members():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(data), 0o644
                tar.addfile(member, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), compresslevel=COMPRESSION, mtime=0)


def write_shards(folder: Path, split: str, samples: Sequence[Sample]) -> list[str]:
    """Write `samples` in their order as shards of equal length, about SHARD_BYTES or less; returns the file names."""
    count = max(1, math.ceil(len(pack(samples)) / SHARD_BYTES))
    length = math.ceil(len(samples) / count)
    names = []
    for index in range(count):
        name = f"{split}-{index:06d}.tar.gz"
        (folder / name).write_bytes(pack(samples[index * length : (index + 1) * length]))
        names.append(name)
    return names
