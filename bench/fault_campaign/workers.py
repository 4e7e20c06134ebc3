"""Loader workers that die or hang, and pictures that cannot be read."""

import multiprocessing
import os
import signal
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .fault import LOST, MESSAGE, Event, Scene


def events() -> Iterator[Event]:
    """Told with the samples in question, in bounded time."""
    for subject, rank in (("one", 0), ("two", 1), ("sharded", 1)):
        for name, number, says in (
            ("killed", signal.SIGKILL, "a data worker died"),
            ("crashed", signal.SIGSEGV, "a data worker died"),
            ("stopped", signal.SIGSTOP, "have given nothing"),
        ):
            yield Event(
                name=f"worker-{subject}-{name}", invariant=7, injection=f"loader worker {name}", subject=subject,
                where=f"of rank {rank}", strike=partial(_hurt_worker, number), step=6, rank=rank,
                codes=(MESSAGE, LOST) if rank else (MESSAGE,), says=says,
                words=("data.workers=1", f"trainer.timeout={12 if rank else 4}"), within=60.0,
            )  # fmt: skip
        for name, spoil in (("truncated", _cut_short), ("bit flipped", _flip), ("removed", Path.unlink)):
            yield Event(
                name=f"picture-{subject}-{name.replace(' ', '-')}", invariant=7, injection=f"picture {name}",
                subject=subject, where="over the limit: the run stops", strike=partial(_spoil, spoil), step=5,
                codes=(MESSAGE,) if name != "bit flipped" else (MESSAGE, 0),
                says="red/39.png" if name != "bit flipped" else "",
                own_pictures=True, mend=_put_back, compare=name != "bit flipped",
            )  # fmt: skip
    yield Event(
        name="picture-one-skipped", invariant=7, injection="picture truncated", subject="one",
        where="below the limit: skipped and listed", strike=partial(_spoil, _cut_short), step=5, codes=(0,),
        says="skipped sample", words=("data.max_bad_fraction=0.5",), own_pictures=True, compare=False,
    )  # fmt: skip
    yield Event(
        name="picture-one-bomb", invariant=11, injection="picture of 10^10 pixels", subject="one",
        where="a header that lies", strike=partial(_spoil, _bomb), step=5, codes=(MESSAGE,), says="red/39.png",
        own_pictures=True, mend=_put_back,
    )  # fmt: skip


def _hurt_worker(number: int, scene: Scene) -> None:
    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, number)


def _spoil(how: Callable[[Path], None], scene: Scene) -> None:
    picture = scene.pictures / "red" / "39.png"
    (scene.place / "picture").write_bytes(picture.read_bytes())
    how(picture)


def _put_back(scene: Scene) -> None:
    (scene.pictures / "red" / "39.png").write_bytes((scene.place / "picture").read_bytes())


def _cut_short(picture: Path) -> None:
    picture.write_bytes(picture.read_bytes()[:200])


def _flip(picture: Path) -> None:
    content = bytearray(picture.read_bytes())
    content[len(content) // 2] ^= 16
    picture.write_bytes(content)


def _bomb(picture: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 100_000)
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))
