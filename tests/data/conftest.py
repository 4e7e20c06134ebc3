"""Small data sets on disk, in each layout, that the tests of this room share."""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch import Tensor

from triptych.data.source import BadSample
from triptych.features.tokenizer import Tokens


def picture(number: int, size: int = 12) -> Image.Image:
    """A small image whose pixels differ from those of every other number."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, {"jpg": "jpeg"}.get(kind, kind))
    return buffer.getvalue()


@pytest.fixture
def png() -> Callable[..., bytes]:
    """`png(number)`: a file whose pixels are those of `pixels(number)`."""
    return lambda number, size=12: encoded(picture(number, size))


@pytest.fixture
def pixels() -> Callable[[int], Tensor]:
    return lambda number: torch.from_numpy(np.array(picture(number))).permute(2, 0, 1)


def clip(number: int, samples: int = 800) -> Tensor:
    """A waveform `(1, samples)` of whole 16-bit numbers that differs from that of every other number."""
    drawn = np.random.default_rng(number).integers(-20_000, 20_000, (1, samples))
    return torch.from_numpy((drawn / 2**15).astype(np.float32))


@pytest.fixture
def waveform() -> Callable[..., Tensor]:
    """`waveform(number)`: what the file of that number holds, 50 ms at 16 kHz."""
    return clip


@pytest.fixture
def sound() -> Callable[..., bytes]:
    """`sound(number)`: a file with the samples of `waveform(number)`."""

    def write(number: int, kind: str = "flac", samples: int = 800) -> bytes:
        buffer = io.BytesIO()
        soundfile.write(buffer, clip(number, samples)[0].numpy(), 16_000, format=kind, subtype="PCM_16")
        return buffer.getvalue()

    return write


@pytest.fixture
def write_tar() -> Callable[[Path, dict[str, bytes]], Path]:
    """`write_tar(path, {member: content})`."""

    def write(path: Path, members: dict[str, bytes]) -> Path:
        with tarfile.open(path, "w") as archive:
            for name, content in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        return path

    return write


@pytest.fixture
def shards(tmp_path: Path, write_tar: Callable[[Path, dict[str, bytes]], Path]) -> Path:
    """Two shards of four samples with fields `group` and `tags`; sample i is `picture(i)` of group "abc"[i % 3]."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(2):
        members = {}
        for number in range(4 * shard, 4 * shard + 4):
            fields: dict[str, Any] = {"group": "abc"[number % 3], "tags": ["x", "y"][: number % 3], "caption": "é"}
            members[f"{number:06d}.png"] = encoded(picture(number))
            members[f"{number:06d}.json"] = json.dumps(fields).encode()
        write_tar(folder / f"train-{shard:06d}.tar", members)
    return folder


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[[dict[str, int]], Path]:
    """`image_folder({"train/cat": 3, ...})` writes that many images into each folder and gives the root."""

    def write(counts: dict[str, int]) -> Path:
        root = tmp_path / "images"
        number = 0
        for name, count in counts.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            for _ in range(count):
                (root / name / f"{number}.png").write_bytes(encoded(picture(number)))
                number += 1
        return root

    return write


class Numbers:
    """A source in memory: image `index` is filled with `index`; the samples in `bad` cannot be read."""

    multilabel = False

    def __init__(self, size: int, bad: Sequence[int] = (), image_size: int = 4) -> None:
        self.classes = ["even", "odd"]
        self.size = size
        self.bad = set(bad)
        self.image_size = image_size

    def __len__(self) -> int:
        return self.size

    def name(self, index: int) -> str:
        return f"number {index}"

    def read(self, index: int) -> tuple[Tensor, int]:
        if index in self.bad:
            raise BadSample("it is bad")
        return torch.full((3, self.image_size, self.image_size), index % 256, dtype=torch.uint8), index % 2


@pytest.fixture
def numbers() -> type[Numbers]:
    return Numbers


class Letters:
    """A tokenizer of the letters' numbers: start 1, end 2, padding 0."""

    vocab_size, context_length, end_token = 0x110000, 40, 2
    config: ClassVar[dict[str, Any]] = {}

    def __call__(self, texts: Sequence[str]) -> Tokens:
        rows = [[1, *map(ord, text[: self.context_length - 2]), 2] for text in texts]
        ids = torch.tensor([row + [0] * (self.context_length - len(row)) for row in rows], dtype=torch.int64)
        return Tokens(ids, torch.tensor([len(row) for row in rows], dtype=torch.int64))


def spelled(batch: dict[str, Any]) -> list[str]:
    """The captions of a batch that `Letters` made ids of."""
    rows = zip(batch["text"].tolist(), batch["text_length"].tolist(), strict=True)
    return ["".join(map(chr, row[1 : length - 1])) for row, length in rows]


@pytest.fixture
def letters() -> Letters:
    return Letters()


@pytest.fixture
def spell() -> Callable[[dict[str, Any]], list[str]]:
    return spelled


@pytest.fixture
def pair_shards(tmp_path: Path, write_tar: Callable[[Path, dict[str, bytes]], Path]) -> Callable[..., Path]:
    """`pair_shards(5, 3)` writes shards of 5 and 3 samples; sample i is `picture(i)`, named `n{i // 2}`.

    Its captions are `a{i}` to `d{i}`, its `.txt` is `text {i}`. The image of each in `broken` is cut short.
    """

    def write(*sizes: int, broken: Sequence[int] = ()) -> Path:
        folder = tmp_path / "pairs"
        folder.mkdir()
        begins = [0, *accumulate(sizes)]
        for shard, size in enumerate(sizes):
            members = {}
            for number in range(begins[shard], begins[shard] + size):
                fields = {"name": f"n{number // 2}", "captions": [f"{letter}{number}" for letter in "abcd"]}
                image = encoded(picture(number))
                members[f"{number:06d}.png"] = image[:40] if number in broken else image
                members[f"{number:06d}.json"] = json.dumps(fields).encode()
                members[f"{number:06d}.txt"] = f" text {number}\n".encode()
            write_tar(folder / f"train-{shard:06d}.tar", members)
        return folder

    return write
