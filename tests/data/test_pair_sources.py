"""Pictures with captions out of shards, tables and data sets: which captions, which concepts, which rows."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from torch import Tensor

from triptych.data.captions import WrittenCaption
from triptych.data.pair_source import PairSource, concepts
from triptych.data.pairs_sets import DatasetPairs
from triptych.data.pairs_shards import ShardPairs
from triptych.data.pairs_table import TablePairs
from triptych.data.source import BadSample, EncodedSource
from triptych.errors import UserError

PairShards = Callable[..., Path]
Png = Callable[..., bytes]
WriteTar = Callable[[Path, dict[str, bytes]], Path]


def written(*fields: str) -> WrittenCaption:
    return WrittenCaption(fields)


def all_captions(source: PairSource) -> list[list[str]]:
    return [source.captions(index) for index in range(len(source))]


def test_shards_give_pictures_captions_and_concepts(pair_shards: PairShards, pixels: Callable[[int], Tensor]) -> None:
    source = ShardPairs(str(pair_shards(4, 3)), written("captions"), concept="name")
    assert isinstance(source, PairSource)
    assert isinstance(source, EncodedSource)
    assert all_captions(source) == [[f"{letter}{index}" for letter in "abcd"] for index in range(7)]
    assert (source.classes, source.ids.tolist()) == (["n0", "n1", "n2", "n3"], [0, 0, 1, 1, 2, 2, 3])
    image, concept = source.read(5)
    assert torch.equal(image, pixels(5))
    assert concept == source.target(5) == 2
    assert source.draw_caption(6, torch.Generator().manual_seed(1)) in source.captions(6)
    assert source.places is None


def test_text_members_are_captions(pair_shards: PairShards) -> None:
    folder = str(pair_shards(2, 2))
    assert all_captions(ShardPairs(folder, written("txt"))) == [[f"text {index}"] for index in range(4)]
    both = ShardPairs(folder, written("txt", "captions"))
    assert both.captions(1) == ["text 1", "a1", "b1", "c1", "d1"]
    assert (both.classes, both.ids.tolist()) == ([], [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"k.txt": b"\xff"}, "its .txt is not UTF-8 text (byte 0)"),
        ({"k.json": b"{"}, "its .json cannot be read"),
        ({"k.json": b"[1]"}, "its .json holds no fields"),
        ({"k.json": b'{"caption": ""}'}, "no caption: txt, caption are empty"),
        ({}, "no caption: txt, caption are empty"),
    ],
)
def test_one_sample_without_a_caption_is_a_bad_sample(
    members: dict[str, bytes], message: str, tmp_path: Path, write_tar: WriteTar, png: Png
) -> None:
    good = {"g.png": png(0), "g.json": b'{"caption": "good"}', "g.txt": b"better"}
    write_tar(tmp_path / "a.tar", good | {"k.png": png(1)} | members)
    source = ShardPairs(str(tmp_path), written("txt", "caption"), concept="caption")
    assert source.captions(0) == ["better", "good"]
    with pytest.raises(BadSample) as told:
        source.captions(1)
    assert message in str(told.value)
    assert source.ids.tolist() == [0, 1], "one without a name is a concept of its own"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"caption": written("capitons")}, r"has no field 'capitons'; did you mean 'captions'"),
        ({"concept": "nam"}, r"has no field 'nam'; did you mean 'name'"),
        ({"concept": "captions"}, "not the name of a concept"),
        ({"shards": "val-*.tar"}, r"no file in .* matches 'val-\*.tar'; there is 'train-000000.tar'"),
        ({"shards": "train-{3..1}.tar"}, "ends before it begins"),
        ({"shards_at_once": 0}, "shards_at_once is 0"),
        ({"root": "pipe:cat x"}, "would run a program"),
    ],
)
def test_wrong_settings_of_shards_are_told(options: dict[str, Any], message: str, pair_shards: PairShards) -> None:
    arguments = {"root": str(pair_shards(2)), "caption": written("captions")}
    with pytest.raises(UserError, match=message):
        ShardPairs(**(arguments | options))


def test_pictures_without_texts_are_told(tmp_path: Path, write_tar: WriteTar, png: Png) -> None:
    write_tar(tmp_path / "a.tar", {"x.png": png(0)})
    with pytest.raises(UserError, match=r"no \.txt and no \.json with fields beside them"):
        ShardPairs(str(tmp_path), written("txt"))
    write_tar(tmp_path / "a.tar", {"x.png": png(0), "x.txt": b" "})
    with pytest.raises(UserError, match=r"none of the first 1 samples has a caption \(no caption: txt is empty\)"):
        ShardPairs(str(tmp_path), written("txt"))


@pytest.fixture
def pictures(tmp_path: Path, png: Png) -> Path:
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    return tmp_path


def table(folder: Path, rows: Sequence[Sequence[Any]], name: str = "pairs.csv") -> str:
    (folder / name).write_text("".join("\t".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    return str(folder / name)


def test_a_table_gives_pictures_and_captions(pictures: Path, pixels: Callable[[int], Tensor]) -> None:
    rows = [("image", "title", "alt"), *((f"{n}.png", f"t{n}", f"a{n}") for n in range(20))]
    file = table(pictures, rows)
    source = TablePairs(file, written("title", "alt"), validation_fraction=0.2)
    held = TablePairs(file, written("title", "alt"), split="validation", validation_fraction=0.2)
    assert (len(source), len(held)) == (16, 4)
    names = {Path(each.name(index)).stem for each in (source, held) for index in range(len(each))}
    assert names == set(map(str, range(20)))
    number = int(Path(source.name(3)).stem)
    assert source.captions(3) == [f"t{number}", f"a{number}"]
    assert torch.equal(source.read(3)[0], pixels(number))
    again = TablePairs(file, written("title"), split="validation", validation_fraction=0.2)
    assert [again.name(index) for index in range(4)] == [held.name(index) for index in range(4)]


def test_rows_of_one_picture_are_one_sample_with_several_captions(pictures: Path) -> None:
    rows = [("path", "caption", "split"), *((f"{n // 3}.png", f"c{n}", "train" if n < 9 else "val") for n in range(15))]
    file = table(pictures, rows)
    assert all_captions(TablePairs(file, written("caption"))) == [[f"c{3 * n + k}" for k in range(3)] for n in range(3)]
    held = TablePairs(file, written("caption"), split="validation")
    assert all_captions(held) == [["c9", "c10", "c11"], ["c12", "c13", "c14"]]
    assert held.ids.tolist() == [0, 1]


def test_a_concept_is_never_on_both_sides(pictures: Path) -> None:
    file = table(pictures, [("path", "caption"), *((f"{n}.png", f"kind {n % 10}") for n in range(20))])
    parts = [
        TablePairs(file, written("caption"), concept="caption", split=split, validation_fraction=0.3)
        for split in ("train", "validation")
    ]
    assert [len(part.classes) for part in parts] == [7, 3]
    assert not set(parts[0].classes) & set(parts[1].classes)
    assert [np.bincount(part.ids).tolist() for part in parts] == [[2] * 7, [2] * 3]


def test_parquet_holds_pictures_and_lists_of_captions(
    tmp_path: Path, png: Png, pixels: Callable[[int], Tensor]
) -> None:
    columns = {"jpg": [png(n) for n in range(5)], "texts": [[f"a{n}", f"b{n}"][: n % 3] for n in range(5)]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "pairs.parquet")
    file = str(tmp_path / "pairs.parquet")
    source = TablePairs(file, written("texts"), validation_fraction=0.2)
    number = int(source.name(0).rpartition("row ")[2]) - 1
    assert torch.equal(source.read(0)[0], pixels(number))
    bad = [index for index in range(len(source)) if int(source.name(index).rpartition("row ")[2]) - 1 in (0, 3)]
    for index in bad:
        with pytest.raises(BadSample, match="no caption: texts is empty"):
            source.captions(index)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"caption": written("captoin")}, r"pairs.csv has no column 'captoin'; did you mean 'caption'"),
        ({"concept": "knd"}, "has no column 'knd'; did you mean 'kind'"),
        ({"image": "pth"}, "has no column 'pth'; did you mean 'path'"),
        ({"caption": written("nothing")}, "none of the first 18 samples has a caption"),
        ({"split": "test"}, "no rows for the split 'test': it has no column of splits"),
        ({"file": "other.csv"}, "manifest other.csv does not exist"),
        ({"root": "no_folder"}, "image folder no_folder does not exist"),
    ],
)
def test_wrong_settings_of_a_table_are_told(options: dict[str, Any], message: str, pictures: Path) -> None:
    rows = [("path", "caption", "kind", "nothing"), *((f"{n}.png", f"c{n}", "x", " ") for n in range(20))]
    arguments: dict[str, Any] = {"file": table(pictures, rows), "caption": written("caption")}
    with pytest.raises(UserError, match=message):
        TablePairs(**(arguments | options))


@pytest.fixture
def saved_set(tmp_path: Path, png: Png) -> Path:
    kinds = datasets.ClassLabel(names=["cat", "dog"])
    features = datasets.Features(
        {"picture": datasets.Image(), "captions": datasets.List(datasets.Value("string")), "kind": kinds}
    )
    rows = {
        "picture": [{"bytes": png(n), "path": None} for n in range(10)],
        "captions": [[f"a{n}", f"b{n}"] for n in range(10)],
        "kind": [n % 2 for n in range(10)],
    }
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "set"))
    return tmp_path / "set"


def test_a_data_set_gives_pictures_and_captions(saved_set: Path, pixels: Callable[[int], Tensor]) -> None:
    parts = [
        DatasetPairs(written("captions"), str(saved_set), split=split, validation_fraction=0.3)
        for split in ("train", "validation")
    ]
    assert [len(part) for part in parts] == [7, 3]
    numbers = [int(part.captions(index)[0][1:]) for part in parts for index in range(len(part))]
    assert sorted(numbers) == list(range(10))
    assert torch.equal(parts[0].read(2)[0], pixels(numbers[2]))
    assert parts[0].captions(2) == [f"a{numbers[2]}", f"b{numbers[2]}"]
    named = DatasetPairs(written("captions"), str(saved_set), concept="kind", validation_fraction=0.5)
    assert named.classes in (["cat"], ["dog"])
    with pytest.raises(UserError, match="has no column 'caption'; did you mean 'captions'"):
        DatasetPairs(written("caption"), str(saved_set))
    with pytest.raises(UserError, match="no data set is named"):
        DatasetPairs(written("caption"))


def test_concepts_without_a_name_are_their_own() -> None:
    classes, ids = concepts(["b", None, "a", "", "b", 3.0], 6)
    assert classes == ["3", "a", "b"]
    assert ids.tolist() == [2, 3, 1, 4, 2, 0]


def test_captions_of_any_script(tmp_path: Path, write_tar: WriteTar, png: Png) -> None:
    texts = ["ein Bär", "日本語", "🐈\u200d⬛"]
    members = {}
    for number, text in enumerate(texts):
        members |= {f"d/{number}.png": png(number), f"d/{number}.json": json.dumps({"caption": text}).encode()}
    write_tar(tmp_path / "a.tar", members)
    assert all_captions(ShardPairs(str(tmp_path), written("caption"))) == [[text] for text in texts]
