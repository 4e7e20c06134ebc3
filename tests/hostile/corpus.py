"""What a stranger may send, and what watches while it is read."""

import hashlib
import io
import os
import pickle
import resource
import struct
import tarfile
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from triptych.build import MODEL_PACKAGES, build
from triptych.checkpoints.files import Written
from triptych.checkpoints.format import write_checkpoint
from triptych.checkpoints.manifest import MANIFEST, manifest_text
from triptych.errors import UserError

MODEL: dict[str, Any] = {
    "_target_": "triptych.models.classifier.Classifier",
    "num_classes": 2,
    "tower": {
        "_target_": "triptych.towers.vision.VisionTower",
        "image_size": 8,
        "dim": 8,
        "depth": 1,
        "patch": {"_target_": "triptych.nn.patch.PatchEmbedding", "_partial_": True, "patch_size": 4},
        "mixer": {"_target_": "triptych.nn.mixers.softmax.SoftmaxMixer", "_partial_": True, "heads": 2},
        "feedforward": {"_target_": "triptych.nn.feedforward.GELUFeedForward", "_partial_": True},
        "norm": {"_target_": "triptych.nn.norm.LayerNorm", "_partial_": True},
        "position": {"_target_": "triptych.nn.position.LearnedPosition", "_partial_": True},
        "pool": {"_target_": "triptych.nn.pool.MeanPool", "_partial_": True},
    },
}


@dataclass(frozen=True)
class Scene:
    """`here`: where the reader works; `outside`: what nobody may touch; `canary`: a file that only code would make."""

    here: Path
    outside: Path
    canary: Path


class Payload:
    """Runs a command of the shell where it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


class Evaluated(Payload):
    """Runs Python where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"open({str(self.canary)!r}, 'w').close()",)


def evil(scene: Scene) -> bytes:
    """A pickle that makes the canary."""
    return pickle.dumps({"state_dict": Payload(scene.canary), "more": Evaluated(scene.canary)}, protocol=2)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, with what it holds."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def refused(error: pytest.ExceptionInfo[BaseException], *words: object) -> str:
    """The one line that a user reads, which holds all `words`."""
    assert isinstance(error.value, UserError)
    text = str(error.value)
    assert len(text.splitlines()) == 1, text
    assert len(text) < 1500, len(text)
    for word in words:
        assert str(word) in text, f"{word!r} is not in {text!r}"
    return text


@contextmanager
def bounded(mebibytes: int = 256, seconds: float = 10.0) -> Iterator[None]:
    """Fails where what is done inside takes more memory or time, long before the machine has none left."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, mapped = _status("VmRSS"), _status("VmSize")
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, ((mapped + 8 * mebibytes * 1024 + (2 << 20)) * 1024, old[1]))
    start = time.monotonic()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)
    assert time.monotonic() - start < seconds
    assert (_status("VmHWM") - before) / 1024 < mebibytes


def _status(name: str) -> int:
    """KiB, as the kernel counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def weights(config: Mapping[str, Any] = MODEL) -> dict[str, Tensor]:
    """Those of a small model."""
    torch.manual_seed(0)
    return build(dict(config), MODEL_PACKAGES).state_dict()


def checkpoint_of(folder: Path, config: Any = None, **extra: Any) -> Path:
    """A whole checkpoint of the small model, whatever it says of itself."""
    state = {f"model.{name}": tensor for name, tensor in weights().items()}
    said = {"model": MODEL, "classes": ["cat", "dog"]} if config is None else config
    write_checkpoint(folder, {"state_dict": state, "triptych": {"config": said}, **extra})
    return folder


def reseal(folder: Path, **changed: bytes) -> Path:
    """Writes files of a checkpoint anew, `state_json=...`, and a manifest that fits them, as anybody can."""
    for name, content in changed.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    files = {
        path.name: Written(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        for path in folder.iterdir()
        if path.name != MANIFEST
    }
    (folder / MANIFEST).write_text(manifest_text(files, {"step": 1, "epoch": 0, "versions": {}}))
    return folder


def tar(path: Path, members: list[tuple[tarfile.TarInfo | str, bytes]]) -> Path:
    """A tar of members as they are given, names and all."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = info.size or len(content)
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


def png(width: int, height: int, pixels: bytes, depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    """A PNG of packed pixels, whatever it says of their number; `extra` chunks come before them."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def zeros(count: int) -> bytes:
    """So many zeros, packed."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(count >> 20)) + packer.flush()


def wav(channels: int, rate: int, content: bytes, said: int | None = None) -> bytes:
    """A WAV of 16 bits; `said`: the bytes of samples that its header promises."""
    size = len(content) if said is None else said
    width = 2 * channels
    head = struct.pack("<HHIIHH", 1, channels, rate, min(rate * width, 2**32 - 1), min(width, 65535), 16)
    whole = min(36 + size, 2**32 - 1)
    return (
        b"RIFF" + struct.pack("<I", whole) + b"WAVEfmt " + struct.pack("<I", 16) + head
        + b"data" + struct.pack("<I", size) + content
    )  # fmt: skip
