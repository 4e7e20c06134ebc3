"""Sounds in every storage: the same waveforms come out, bad files are bad samples, images in their place are told."""

import io
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from torch import Tensor

from triptych.data.cache import CachedSource
from triptych.data.folder import FolderSource
from triptych.data.folds import Folds
from triptych.data.huggingface_sets import DatasetSource
from triptych.data.manifest import ManifestSource
from triptych.data.segment import Segment
from triptych.data.shards import ShardSource
from triptych.data.sound import Sounds
from triptych.data.source import BadSample, EncodedSource, Source
from triptych.errors import UserError

SOUNDS = Sounds(16_000)
Sound = Callable[..., bytes]
Waveform = Callable[..., Tensor]
WriteTar = Callable[[Path, dict[str, bytes]], Path]


@pytest.fixture
def files(tmp_path: Path, sound: Sound) -> Path:
    """Sounds 0 to 19 as `a/0.flac`, `b/1.wav`, ..."""
    for name in "ab":
        (tmp_path / "sounds" / name).mkdir(parents=True)
    for number in range(20):
        kind = ("flac", "wav")[number % 2]
        (tmp_path / "sounds" / "ab"[number % 2] / f"{number}.{kind}").write_bytes(sound(number, kind))
    return tmp_path / "sounds"


def in_folder(files: Path) -> Source:
    return FolderSource(str(files), medium=SOUNDS)


def in_manifest(files: Path) -> Source:
    lines = [f"{path.relative_to(files)},{path.parent.name}" for path in sorted(files.glob("*/*.*"))]
    (files / "sounds.csv").write_text("\n".join(["path,label", *lines]))
    return ManifestSource(str(files / "sounds.csv"), medium=SOUNDS)


def in_shards(files: Path, write_tar: WriteTar) -> Source:
    members: dict[str, bytes] = {}
    for path in sorted(files.glob("*/*.*")):
        members[path.name] = path.read_bytes()
        members[f"{path.stem}.json"] = json.dumps({"kind": path.parent.name}).encode()
    write_tar(files / "train-0.tar", members)
    return ShardSource(str(files), label="kind", medium=SOUNDS)


def in_set(files: Path) -> Source:
    datasets = pytest.importorskip("datasets")
    paths = sorted(files.glob("*/*.*"))
    # Bytes in some rows, in others the place of a file.
    sounds = [
        {"bytes": path.read_bytes(), "path": None} if place % 2 else {"bytes": None, "path": str(path)}
        for place, path in enumerate(paths)
    ]
    made = datasets.Dataset.from_dict({"sound": sounds, "kind": [path.parent.name for path in paths]})
    made = made.cast_column("sound", datasets.Audio()).cast_column("kind", datasets.ClassLabel(names=["a", "b"]))
    made.save_to_disk(str(files / "saved"))
    return DatasetSource(str(files / "saved"), medium=SOUNDS)


@pytest.mark.parametrize("storage", ["folder", "manifest", "shards", "set", "cache"])
def test_every_storage_gives_the_same_waveforms(
    storage: str, files: Path, waveform: Waveform, write_tar: WriteTar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    source = {
        "folder": lambda: in_folder(files),
        "manifest": lambda: in_manifest(files),
        "shards": lambda: in_shards(files, write_tar),
        "set": lambda: in_set(files),
        "cache": lambda: CachedSource(in_folder(files)),
    }[storage]()
    assert source.classes == ["a", "b"]
    assert len(source) == (20 if storage == "shards" else 18)  # else one of each class is for validation
    wanted = {number: waveform(number) for number in range(20)}
    for index in range(len(source)):
        found, label = source.read(index)
        assert isinstance(found, Tensor)
        number = next(number for number, each in wanted.items() if torch.equal(each, found))
        assert label == number % 2
        del wanted[number]
        if isinstance(source, EncodedSource):
            with soundfile.SoundFile(io.BytesIO(source.encoded(index))) as opened:
                assert opened.frames == 800


@pytest.mark.parametrize("storage", ["folder", "manifest", "shards"])
def test_a_bad_file_is_a_bad_sample(storage: str, files: Path, write_tar: WriteTar) -> None:
    for path in files.glob("*/*.*"):
        path.write_bytes(path.read_bytes()[:300])
    source = {
        "folder": in_folder, "manifest": in_manifest, "shards": lambda files: in_shards(files, write_tar),
    }[storage](files)  # fmt: skip
    for index in range(len(source)):
        with pytest.raises(BadSample, match=r"cut short|damaged"):
            source.read(index)


def test_images_in_place_of_sounds_are_told(tmp_path: Path, png: Callable[..., bytes], write_tar: WriteTar) -> None:
    (tmp_path / "pictures" / "cat").mkdir(parents=True)
    (tmp_path / "pictures" / "cat" / "0.png").write_bytes(png(0))
    with pytest.raises(UserError, match=r"no sounds in the 1 class folders .* there are files that end in png"):
        FolderSource(str(tmp_path / "pictures"), medium=SOUNDS)
    write_tar(tmp_path / "a.tar", {"x.png": png(1), "x.cls": b"0"})
    with pytest.raises(UserError, match=r"no sounds in 1 shards .*members end in cls, png, sounds in wav, flac"):
        ShardSource(str(tmp_path), medium=SOUNDS)
    (tmp_path / "t.csv").write_text("path,label\npictures/cat/0.png,cat\n")
    with pytest.raises(UserError, match=r"no column seems to hold the sounds \(path, label\)"):
        ManifestSource(str(tmp_path / "t.csv"), medium=SOUNDS)
    with pytest.raises(UserError, match="sound folder nowhere does not exist"):
        FolderSource("nowhere", medium=SOUNDS)


def test_sounds_in_place_of_images_are_told(files: Path, sound: Sound, write_tar: WriteTar) -> None:
    with pytest.raises(UserError, match=r"no images in the 2 class folders .* there are files that end in flac, wav"):
        FolderSource(str(files))
    write_tar(files / "a.tar", {"x.flac": sound(1), "x.cls": b"0"})
    with pytest.raises(UserError, match=r"no images in 1 shards .*members end in cls, flac, images in jpg"):
        ShardSource(str(files))


def table(folder: Path, header: str, rows: Sequence[str], name: str = "t.csv") -> str:
    (folder / name).write_text("\n".join([header, *rows]))
    return str(folder / name)


@pytest.fixture
def folded(files: Path) -> str:
    """A table with the folds 1 to 5, sound n in fold n % 5 + 1."""
    rows = [f"{'ab'[n % 2]}/{n}.{('flac', 'wav')[n % 2]},{'ab'[n % 2]},{n % 5 + 1}" for n in range(20)]
    return table(files, "path,label,fold", rows)


@pytest.mark.parametrize("held_out", [3, "3", 5, [1, 2]])
def test_folds_split_a_table(held_out: Any, folded: str) -> None:
    train, held = (
        ManifestSource(folded, label="label", split=split, folds=Folds(held_out), medium=SOUNDS)
        for split in ("train", "validation")
    )
    numbers = [{int(Path(source.name(index)).stem) for index in range(len(source))} for source in (train, held)]
    wanted = {int(each) for each in (held_out if isinstance(held_out, list) else [held_out])}
    assert numbers[1] == {number for number in range(20) if number % 5 + 1 in wanted}
    assert numbers[0] == set(range(20)) - numbers[1]
    assert train.classes == held.classes == ["a", "b"]


def test_wrong_folds_are_told(folded: str, files: Path) -> None:
    def source(folds: Folds, file: str = folded) -> ManifestSource:
        return ManifestSource(file, label="label", folds=folds, medium=SOUNDS)

    with pytest.raises(UserError, match=r"held_out is '6', which is no fold; there is '1', '2', '3', '4', '5'"):
        source(Folds(6))
    with pytest.raises(UserError, match="is every fold there is; leave one to train on"):
        source(Folds([1, 2, 3, 4, 5]))
    with pytest.raises(UserError, match=r"has no column 'group'; there is 'path', 'label', 'fold'"):
        source(Folds(1, "group"))
    empty = table(files, "path,label,fold", ["a/0.flac,a,1", "b/1.wav,b,"], "empty.csv")
    with pytest.raises(UserError, match=r"empty.csv, line 3 has no fold: fill it in or leave the row out"):
        source(Folds(1), empty)


def test_several_labels_a_sound(files: Path) -> None:
    lists = table(files, "path,tags", ["a/0.flac,dog|rain", "b/1.wav,rain", "a/2.flac,"])
    source = ManifestSource(lists, label_separator="|", other_file=str(files / "a" / "0.flac"), medium=SOUNDS)
    assert [torch.as_tensor(source.target(index)).tolist() for index in range(3)] == [[1, 1], [0, 1], [0, 0]]
    assert (source.multilabel, source.classes) == (True, ["dog", "rain"])
    ones = table(files, "path,dog,rain", [f"{path.relative_to(files)},1,0" for path in files.glob("a/*")], "ones.csv")
    source = ManifestSource(ones, label_columns=["dog", "rain"], medium=SOUNDS)
    assert torch.as_tensor(source.read(0)[1]).tolist() == [1.0, 0.0]
    with pytest.raises(UserError, match=r"has no column 'tag'; did you mean 'tags'\?"):
        ManifestSource(lists, label="tag", medium=SOUNDS)


@pytest.mark.parametrize("stored", ["files", "bytes"])
def test_parts_of_one_file(stored: str, tmp_path: Path, sound: Sound, waveform: Waveform) -> None:
    rows = [("x", 0.0, 0.03), ("y", 0.03, 0.07), ("x", 0.5, None), ("y", 0.98, 1.3)]
    if stored == "files":
        (tmp_path / "long.wav").write_bytes(sound(4, "wav", 16_000))
        lines = [f"long.wav,{kind},{start},{'' if end is None else end}" for kind, start, end in rows]
        file = table(tmp_path, "path,kind,from,to", lines)
    else:
        pyarrow = pytest.importorskip("pyarrow")
        import pyarrow.parquet as parquet

        kind, start, end = zip(*rows, strict=True)
        columns = {"path": [sound(4, "wav", 16_000)] * 4, "kind": kind, "from": start, "to": end}
        parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
        file = str(tmp_path / "t.parquet")
    source = ManifestSource(
        file,
        other_file=table(tmp_path, "path,kind", ["a,b"], "other.csv"),
        segment=Segment("from", "to"),
        medium=SOUNDS,
    )
    whole = waveform(4, 16_000)
    for index, (begin, stop) in enumerate([(0, 480), (480, 1_120), (8_000, 16_000)]):
        found, label = source.read(index)
        assert torch.equal(torch.as_tensor(found), whole[:, begin:stop])
        assert source.classes[int(label)] == rows[index][0]
    assert source.name(1).endswith("from 0.03 to 0.07 s")
    with pytest.raises(BadSample, match=r"no part from 0.98 to 1.3 s: it is 1 s long"):
        source.read(3)


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("x", "1", "line 2 has 'x' in the column 'from', which is no number of seconds"),
        ("nan", "1", "line 2 has 'nan' in the column 'from', which is no number of seconds"),
        ("0", "inf", "line 2 has 'inf' in the column 'to', which is no number of seconds"),
        ("2", "1", "line 2: the part from 2 to 1.0 s is none"),
        ("-1", "1", "line 2: the part from -1 to 1.0 s is none"),
    ],
)
def test_wrong_parts_are_told(start: str, end: str, message: str, files: Path) -> None:
    rows = [f"a/{number}.flac,{'xy'[number % 4 // 2]},{start},{end}" for number in range(0, 20, 2)]
    with pytest.raises(UserError, match=message):
        ManifestSource(table(files, "path,kind,from,to", rows), segment=Segment("from", "to"), medium=SOUNDS)


def test_parts_are_for_sounds(tmp_path: Path, png: Callable[..., bytes]) -> None:
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    file = table(tmp_path, "path,kind,from", [f"{number}.png,{'xy'[number % 2]},0" for number in range(10)])
    with pytest.raises(UserError, match="segment names a part of a file in seconds, and these are images"):
        ManifestSource(file, segment=Segment("from"))


def test_what_was_chosen_is_said(files: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "triptych.data"):
        in_manifest(files)
        in_folder(files)
    assert "sounds from the column 'path', labels from 'label'" in caplog.text
    assert "no folder for validation: 18 sounds (0.9 of each class" in caplog.text
