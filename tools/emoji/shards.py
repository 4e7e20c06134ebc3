"""WebDataset shards that are the same bytes on each run: fixed order, times, owners, modes and compression.

The shards are `.tar.gz`: headers and padding of a tar take 2 KB a sample, more than twice what the sample itself does.
"""

import gzip
import io
import json
import math
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .concepts import Concept

SHARD_BYTES = 1_900_000
COMPRESSION = 9


@dataclass(frozen=True)
class Sample:
    """One drawing of one concept as it is stored."""

    concept: Concept
    style: str
    webp: bytes

    @property
    def key(self) -> str:
        """Name of the sample's members, unique over all splits."""
        return f"{self.concept.hexcode}_{self.style}"

    def json(self) -> bytes:
        """The description beside the picture."""
        concept = self.concept
        fields = {
            "caption": concept.caption,
            "tags": list(concept.tags),
            "group": concept.group,
            "subgroup": concept.subgroup,
            "style": self.style,
            "emoji": concept.emoji,
            "hexcode": concept.hexcode,
        }
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file of which only the name and the bytes vary."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(data))


def pack(samples: Sequence[Sample]) -> bytes:
    """One shard, compressed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            add_member(tar, f"{sample.key}.webp", sample.webp)
            add_member(tar, f"{sample.key}.json", sample.json())
    return gzip.compress(buffer.getvalue(), compresslevel=COMPRESSION, mtime=0)


def write_shards(folder: Path, split: str, samples: Sequence[Sample]) -> list[str]:
    """Write `samples` in their order as shards of equal length, about SHARD_BYTES or less; returns the file names."""
    count = math.ceil(len(pack(samples)) / SHARD_BYTES)
    length = math.ceil(len(samples) / count)
    names = []
    for index in range(count):
        name = f"{split}-{index:06d}.tar.gz"
        (folder / name).write_bytes(pack(samples[index * length : (index + 1) * length]))
        names.append(name)
    return names
