"""Names that are no files, and sounds that lie, among those of a data set: each is a bad sample, told by its name."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from triptych.data.captions import WrittenCaption
from triptych.data.folder import FolderSource
from triptych.data.pairs_table import TablePairs
from triptych.data.source import BadSample
from triptych.doctor.look import look
from triptych.evaluation.inputs import find_inputs

from .corpus import Scene, bounded
from .test_sounds import LIES, RATE, SOUNDS, flac, silence


@pytest.fixture
def sounds(scene: Scene) -> Path:
    """Two classes, and among them names that are no files."""
    for name in ("cat", "dog"):
        folder = scene.here / "sounds" / name
        folder.mkdir(parents=True)
        for number in range(3):
            (folder / f"{number}.wav").write_bytes(silence("WAV", RATE, loud=0.5))
    os.mkfifo(scene.here / "sounds" / "cat" / "pipe.wav")
    (scene.here / "sounds" / "cat" / "zero.wav").symlink_to("/dev/zero")
    (scene.here / "sounds" / "dog" / "gone.wav").symlink_to("nowhere")
    (scene.here / "sounds" / "dog" / "folder.wav").mkdir()
    (scene.here / "sounds" / "dog" / "bomb.flac").write_bytes(flac(2**36 - 1))
    return scene.here / "sounds"


NO_FILES = {
    "pipe.wav": "cannot be opened: it is no plain file",
    "zero.wav": "cannot be opened: it is no plain file",
    "gone.wav": "cannot be opened: No such file or directory",
    "bomb.flac": "1193.0 hours at 16000 Hz are above the limit of 268435456 samples: cut it into several files, or "
    "name parts of it",
}


def failed(names: list[str], read: Callable[[int], Any]) -> dict[str, str]:
    reasons = {}
    for index, name in enumerate(names):
        try:
            read(index)
        except BadSample as reason:
            reasons[Path(name).name] = str(reason)
    return reasons


def test_pipes_and_devices_are_bad_samples(sounds: Path) -> None:
    source = FolderSource(str(sounds), validation_fraction=0.01, medium=SOUNDS)
    held = FolderSource(str(sounds), validation_fraction=0.01, medium=SOUNDS, split="validation")
    with bounded(64, 5):
        reasons = failed([source.name(index) for index in range(len(source))], source.read)
        reasons |= failed([held.name(index) for index in range(len(held))], held.read)
        given_files = find_inputs(str(sounds), bytes, medium=SOUNDS)
        again = failed([each.name for each in given_files], lambda index: SOUNDS.decode(given_files[index].read()))
        parts = failed(
            [str(sounds / "cat" / "pipe.wav")], lambda _: SOUNDS.segment(sounds / "cat" / "pipe.wav", 0.0, 1.0)
        )
    assert reasons == NO_FILES
    assert again == NO_FILES
    assert parts == {"pipe.wav": NO_FILES["pipe.wav"]}


@pytest.mark.parametrize("kind", ["WAV at 1 Hz", "FLAC of 68719476735 samples", "a WAV of chunks", "an Ogg of pages"])
def test_the_doctor_takes_them_for_no_pictures(kind: str, scene: Scene) -> None:
    for name in ("cat", "dog"):
        (scene.here / "pictures" / name).mkdir(parents=True)
        (scene.here / "pictures" / name / "a.png").write_bytes(LIES[kind])
    source = FolderSource(str(scene.here / "pictures"), validation_fraction=0.01)
    with bounded(64, 5):
        assert {look(source, index).fault for index in range(len(source))} == {"no_image"}


def test_sounds_with_captions_are_read_by_the_same_rules(sounds: Path) -> None:
    names = [str(path.relative_to(sounds)) for path in sorted(sounds.rglob("*.*")) if path.name != "folder.wav"]
    lines = [f"{name},a {Path(name).parent}" for name in names]
    (sounds / "table.csv").write_text("\n".join(["file,caption", *lines]) + "\n")
    (sounds / "none.csv").write_text("file,caption\ncat/0.wav,a cat\n")
    caption, other = WrittenCaption(("caption",)), str(sounds / "none.csv")
    pairs = TablePairs(str(sounds / "table.csv"), caption, other_file=other, medium=SOUNDS)
    with bounded(64, 5):
        reasons = failed([pairs.name(index) for index in range(len(pairs))], pairs.read)
    assert set(reasons.values()) == set(NO_FILES.values())
