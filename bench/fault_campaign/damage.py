"""Checkpoints that were cut short, changed or robbed of a file after they had been written."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .fault import Event, Scene, die_saved

WORDS = ("checkpoint.keep=3",)
WHOLE = ("model.safetensors", "training.safetensors", "ema.safetensors", "state.json", "config.json", "manifest.json")
SHARDS = ("model.00000.safetensors", "model.00001.safetensors", "training.00001.safetensors", "shards.json")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(place: float, path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[min(len(content) - 1, int(place * len(content)))] ^= 1
    path.write_bytes(content)


WAYS: dict[str, Callable[[Path], None]] = {
    "last byte cut off": cut_short, "half cut off": half, "first bit flipped": partial(flip, 0.0),
    "bit flipped": partial(flip, 0.6), "removed": Path.unlink,
}  # fmt: skip


def events() -> Iterator[Event]:
    """A resume must refuse and name the newest whole checkpoint, from which the run goes on."""
    for subject, files in (("one", WHOLE), ("sharded", SHARDS)):
        for number, file in enumerate(files):
            ways = list(WAYS.items())
            some = ways if subject == "one" and number < 2 else [ways[number % 5], ways[(number + 2) % 5]]
            for name, way in some:
                yield Event(
                    name=f"damage-{subject}-{file}-{name.replace(' ', '-')}", invariant=1,
                    injection=f"checkpoint: {name}", subject=subject, where=file, strike=die_saved, step=9,
                    words=WORDS, mend=partial(_damage, file, way),
                    refuses="name it to go on from there",
                )  # fmt: skip


def _damage(file: str, way: Callable[[Path], None], scene: Scene) -> None:
    assert scene.run is not None
    way((scene.run / "checkpoints" / "last").resolve() / file)
