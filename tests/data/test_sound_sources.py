"""Every layout that holds images holds sounds as well: the right files with the right labels, and near messages."""

import json
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

from triptych.data.folder import FolderSource
from triptych.data.folds import Folds
from triptych.data.huggingface_sets import DatasetSource
from triptych.data.manifest import ManifestSource
from triptych.data.segment import Segment
from triptych.data.shards import ShardSource
from triptych.data.sound import Sounds
from triptych.data.source import Source
from triptych.errors import UserError

from ..sounds import RATE, encode, tone, write

SOUNDS = Sounds(RATE)
PITCHES = {"high": 1000, "low": 300}


def assert_tones(source: Source) -> None:
    """Every sample is the tone of its class and of the number in its name."""
    for index in range(len(source)):
        waveform, label = source.read(index)
        number = int(Path(source.name(index).rstrip(")")).stem.rpartition("_")[2])
        wanted = tone(PITCHES[source.classes[int(label)]], 0.1 + 0.01 * number, seed=number)
        assert np.array_equal(np.asarray(waveform)[0], wanted)


def file(root: Path, kind: str, number: int) -> Path:
    return write(root / kind / f"s_{number}.wav", tone(PITCHES[kind], 0.1 + 0.01 * number, seed=number))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(10):
        for kind in PITCHES:
            file(tmp_path / "sounds", kind, number)
    (tmp_path / "sounds/low/notes.txt").write_text("none")
    return tmp_path / "sounds"


def test_a_folder_of_sounds(folder: Path) -> None:
    parts = [FolderSource(str(folder), split, 0.2, medium=SOUNDS) for split in ("train", "validation")]
    assert [len(part) for part in parts] == [16, 4]
    for part in parts:
        assert part.classes == ["high", "low"]
        assert_tones(part)


def test_a_folder_of_the_other_medium_is_told(folder: Path, image_folder: Callable[[dict[str, int]], Path]) -> None:
    with pytest.raises(
        UserError, match=r"no images in the 2 class folders .*: files that end in jpg.*; there are .*wav"
    ):
        FolderSource(str(folder))
    pictures = image_folder({"cat": 2, "dog": 2})
    with pytest.raises(UserError, match=r"no sounds in the 2 class folders .*that end in wav.*; there are .* png"):
        FolderSource(str(pictures), medium=SOUNDS)
    with pytest.raises(UserError, match=r"no sounds in .*: files that end in wav"):
        FolderSource(str(pictures), medium=SOUNDS, classes=["cat", "dog"])
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=r"1 of the 3 class folders of .* have no sounds: empty; add sounds or remove"):
        FolderSource(str(folder), medium=SOUNDS)
    with pytest.raises(UserError, match=r"has no class folders \(and 10 sounds of its own\): put those of each class"):
        FolderSource(str(folder / "low"), medium=SOUNDS)


@pytest.fixture
def table(folder: Path) -> Path:
    rows = [f"{kind}/s_{number}.wav,{kind},{number % 5 + 1}" for number in range(10) for kind in PITCHES]
    (folder / "table.csv").write_text("\n".join(["filename,category,fold", *rows]))
    return folder / "table.csv"


def test_a_table_of_sounds_with_folds(table: Path) -> None:
    for held, count in ((1, 4), ("5", 4), ([2, 3], 8)):
        folds = Folds(held)
        train, held_out = (ManifestSource(str(table), split=split, medium=SOUNDS, folds=folds) for split in (
            "train", "validation"))  # fmt: skip
        assert (len(train), len(held_out)) == (20 - count, count)
        assert list(train.folds) == list("12345")
        assert_tones(train)
        assert_tones(held_out)
        several = {str(each) for each in (held if isinstance(held, list) else [held])}
        assert {str(int(Path(held_out.name(i)).stem[2:]) % 5 + 1) for i in range(count)} == several


def test_mistakes_of_a_table_are_told(table: Path, tmp_path: Path) -> None:
    def refused(message: str, text: str | None = None, **settings: object) -> None:
        if text is not None:
            table.write_text(text)
        with pytest.raises(UserError, match=message):
            ManifestSource(str(table), **{"medium": SOUNDS, **settings})  # pyright: ignore[reportArgumentType]

    refused(r"folds\.held_out is '7', which is no fold", folds=Folds(7))
    refused(r"no column 'fald'; did you mean 'fold'", folds=Folds(1, "fald"))
    refused(r"no column 'labl'", label="labl")
    refused(r"no column seems to hold the images", medium=None)
    head = "filename,category,fold\n"
    refused(r"line 3 has no label \('category' is empty, in 1 of 3 rows\)",
            f"{head}low/s_1.wav,low,1\nlow/s_2.wav,,2\nhigh/s_2.wav,high,2\n")  # fmt: skip
    refused(r"line 3 has no fold: fill it in", f"{head}low/s_1.wav,low,1\nhigh/s_2.wav,high,\n", folds=Folds(1))
    refused(r"has one column, 'filename': a manifest needs a column", "filename\nlow/s_1.wav\n")
    refused(r"no column seems to hold the labels \(there is no other column\)\. Name it: data\.train\.label=COLUMN",
            "filename,fold\nlow/s_1.wav,1\nlow/s_2.wav,2\n", folds=Folds(1))  # fmt: skip
    refused(r"there is no sound .*gone\.wav, nor any of the first 1", "filename,label\ngone.wav,low\n")


def test_folds_and_parts_of_a_recording_go_together(tmp_path: Path) -> None:
    """Labels are guessed to be none of the columns that say something else."""
    whole = tone(500, 1.0)
    write(tmp_path / "whole.wav", whole)
    rows = [f"whole.wav,{number / 10},{number / 10 + 0.1},{number % 2 + 1},{'ab'[number // 5]}" for number in range(10)]
    (tmp_path / "table.csv").write_text("\n".join(["path,start,stop,part,kind", *rows]))
    found = [
        ManifestSource(
            str(tmp_path / "table.csv"), split=split, medium=SOUNDS, folds=Folds(2, "part"),
            segment=Segment("start", "stop"),
        )
        for split in ("train", "validation")
    ]  # fmt: skip
    assert [len(part) for part in found] == [5, 5]
    for place, part in enumerate(found):
        assert part.classes == ["a", "b"]
        for index in range(5):
            first = round((2 * index + place) * 0.1 * RATE)
            assert np.array_equal(np.asarray(part.read(index)[0])[0], whole[first : first + RATE // 10])


def test_shards_of_sounds(tmp_path: Path, write_tar: Callable[[Path, dict[str, bytes]], Path]) -> None:
    members: dict[str, bytes] = {}
    for number in range(6):
        kind = ["high", "low"][number % 2]
        signal = tone(PITCHES[kind], 0.1 + 0.01 * number, seed=number)
        form, coding = (("wav", "FLOAT"), ("flac", "PCM_24"))[number // 3]
        members[f"s_{number}.{form}"] = encode(signal, form=form.upper(), coding=coding)
        members[f"s_{number}.json"] = json.dumps({"kind": kind, "tags": [kind, "any"]}).encode()
    write_tar(tmp_path / "train-0.tar", members)
    source = ShardSource(str(tmp_path), label="kind", medium=SOUNDS)
    assert (len(source), source.classes) == (6, ["high", "low"])
    for index in range(6):
        waveform, label = source.read(index)
        wanted = tone(PITCHES[source.classes[int(label)]], 0.1 + 0.01 * index, seed=index)
        torch.testing.assert_close(waveform[0], torch.from_numpy(wanted), rtol=0, atol=0 if index < 3 else 3e-7)
    several = ShardSource(str(tmp_path), label="tags", multilabel=True, medium=SOUNDS)
    assert torch.equal(torch.as_tensor(several.read(0)[1]), torch.tensor([1.0, 1.0, 0.0]))
    with pytest.raises(UserError, match="no"):
        ShardSource(str(tmp_path), label="kind")


def test_a_set_of_the_library_datasets(folder: Path, tmp_path: Path) -> None:
    paths = sorted(str(path) for path in folder.rglob("*.wav"))
    labels = [Path(path).parent.name for path in paths]
    # As such files are, with no need of a decoder of the library's own.
    cells = [{"bytes": Path(path).read_bytes(), "path": Path(path).name} for path in paths]
    made = datasets.Dataset.from_dict({"audio": cells, "kind": labels})
    made = made.cast_column("audio", datasets.Audio()).cast_column("kind", datasets.ClassLabel(names=["high", "low"]))
    made.save_to_disk(str(tmp_path / "set"))
    parts = [DatasetSource(str(tmp_path / "set"), split=split, medium=SOUNDS) for split in ("train", "validation")]
    assert [len(part) for part in parts] == [18, 2]
    for part in parts:
        assert_tones(part)
    with pytest.raises(UserError, match=r"no column seems to hold the images \(audio, kind\)"):
        DatasetSource(str(tmp_path / "set"))
