"""Tables of images and labels: which columns, which rows, which classes, and what is told of a wrong one."""

import logging
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from triptych.data.manifest import ManifestSource
from triptych.data.source import BadSample, EncodedSource
from triptych.errors import UserError

Png = Callable[..., bytes]


@pytest.fixture
def folder(tmp_path: Path, png: Png) -> Path:
    (tmp_path / "pictures").mkdir()
    for number in range(30):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(png(number))
    return tmp_path


def write(folder: Path, text: str, name: str = "labels.csv") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def rows(labels: Sequence[Any], separator: str = ",", extra: Sequence[Any] | None = None) -> str:
    cells = [(f"pictures/{number}.png", str(label)) for number, label in enumerate(labels)]
    if extra is not None:
        cells = [(*row, str(more)) for row, more in zip(cells, extra, strict=True)]  # pyright: ignore[reportAssignmentType]
    return "".join(separator.join(row) + "\n" for row in cells)


def labels(source: ManifestSource) -> list[str]:
    return [source.classes[int(source.target(index))] for index in range(len(source))]


@pytest.mark.parametrize("name", ["labels.csv", "labels.tsv"])
@pytest.mark.parametrize("header", ["path,label", "label_of_it,file", "species,image"])
def test_columns_are_found(
    name: str, header: str, folder: Path, caplog: pytest.LogCaptureFixture, pixels: Callable[[int], Tensor]
) -> None:
    first, second = header.split(",")
    image_first = first == "path"
    lines = [f"pictures/{n}.png,{'ab'[n % 2]}" if image_first else f"{'ab'[n % 2]},pictures/{n}.png" for n in range(20)]
    text = "\n".join([header, *lines]) + "\n"
    with caplog.at_level(logging.INFO, "triptych.data"):
        source = ManifestSource(write(folder, text.replace(",", "\t") if name.endswith("tsv") else text, name))
    assert source.classes == ["a", "b"]
    image_column, label_column = (first, second) if image_first else (second, first)
    assert f"images from the column {image_column!r}, labels from {label_column!r}" in caplog.text
    image, label = source.read(0)
    number = int(Path(source.name(0)).stem)
    assert torch.equal(torch.as_tensor(image), pixels(number))
    assert label == number % 2
    assert isinstance(source, EncodedSource)
    assert pickle.loads(pickle.dumps(source)).read(0)[1] == label


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_and_quotes(separator: str, folder: Path) -> None:
    text = f'﻿path{separator}label\r\n\r\npictures/0.png{separator}"a{separator}b"\r\npictures/1.png{separator}c\r\n'
    source = ManifestSource(
        write(folder, text), classes=[f"a{separator}b", "c"], other_file=write(folder, text, "o.csv")
    )
    assert labels(source) == [f"a{separator}b", "c"]


def test_a_split_is_made_once_and_for_all(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write(folder, "path,label\n" + rows(["a"] * 20 + ["b"] * 10))
    with caplog.at_level(logging.INFO, "triptych.data"):
        train, held = ManifestSource(file), ManifestSource(file, split="validation", other_file=file)
    assert (labels(train), labels(held)) == (["a"] * 18 + ["b"] * 9, ["a"] * 2 + ["b"])
    names = {train.name(index) for index in range(27)} | {held.name(index) for index in range(3)}
    assert len(names) == 30
    assert "3 rows (0.1 of each class, always the same ones) are the validation split" in caplog.text


def test_a_column_of_splits(folder: Path) -> None:
    splits = ["TRAIN"] * 10 + ["val"] * 5 + ["Test"] * 3 + [""] * 2
    file = write(folder, "path,label,split\n" + rows([*"ab" * 5, *"bbbbb", *"aba", "", ""], extra=splits))
    parts = {split: ManifestSource(file, split=split) for split in ("train", "validation", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 10, "validation": 5, "test": 3}
    assert {tuple(part.classes) for part in parts.values()} == {("a", "b")}
    assert labels(parts["validation"]) == ["b"] * 5
    other = write(folder, "path,label,part\n" + rows([*"ab" * 5, *"bbbbb"], extra=splits[:15]), "b.csv")
    assert len(ManifestSource(other, split="validation", split_column="part", label="label")) == 5


def test_files_for_each_split(folder: Path) -> None:
    first, second = write(folder, "path,label\n" + rows("abc")), write(folder, "path,label\n" + rows("cb"), "val.csv")
    assert labels(ManifestSource(first, other_file=second)) == ["a", "b", "c"]
    held = ManifestSource(second, split="validation", other_file=first)
    assert (held.classes, labels(held)) == (["b", "c"], ["c", "b"])


def test_numbers_are_in_their_order(folder: Path) -> None:
    file = write(folder, "path,label\n" + rows([number % 11 for number in range(30)]))
    assert ManifestSource(file).classes == [str(number) for number in range(11)]


def test_several_labels_in_one_cell(folder: Path) -> None:
    file = write(folder, "path,tags\n" + rows(["a|b", "b", "", "c| a"] * 5))
    source = ManifestSource(file, label_separator="|", validation_fraction=0.2)
    held = ManifestSource(file, label_separator="|", validation_fraction=0.2, split="validation")
    assert source.multilabel
    assert source.classes == held.classes == ["a", "b", "c"]
    assert len(source) + len(held) == 20
    expected = {0: [1.0, 1, 0], 1: [0.0, 1, 0], 2: [0.0, 0, 0], 3: [1.0, 0, 1]}
    for index in range(len(source)):
        target = source.read(index)[1]
        assert isinstance(target, Tensor)
        assert target.dtype == torch.float32
        assert target.tolist() == expected[int(Path(source.name(index)).stem) % 4]


def test_a_column_for_each_class(folder: Path) -> None:
    lines = "".join(f"pictures/{n}.png,{n % 2},{'True' if n % 3 else 'False'},x\n" for n in range(20))
    source = ManifestSource(write(folder, "path,cat,dog,note\n" + lines), label_columns=["dog", "cat"])
    assert (source.classes, source.multilabel) == (["dog", "cat"], True)
    for index in range(len(source)):
        number = int(Path(source.name(index)).stem)
        assert torch.as_tensor(source.target(index)).tolist() == [float(number % 3 > 0), float(number % 2)]


@pytest.mark.parametrize("embedded", [False, True])
def test_parquet(embedded: bool, folder: Path, png: Png, pixels: Callable[[int], Tensor]) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": png(n), "path": None} if embedded else f"pictures/{n}.png" for n in range(20)]
    table = arrow.table({"image": images, "kind": [n % 2 for n in range(20)], "tags": [["x"], []] * 10})
    parquet.write_table(table, folder / "t.parquet")
    file = str(folder / "t.parquet")
    source = ManifestSource(file, label="kind", other_file=write(folder, "path,label\n", "o.csv"))
    assert (len(source), source.classes) == (20, ["0", "1"])
    assert torch.equal(source.read(3)[0], pixels(3))
    assert source.name(3) == (f"{file}, row 4" if embedded else str(folder / "pictures" / "3.png"))
    assert ManifestSource(file, label="tags", classes=["x"]).multilabel


def test_images_that_cannot_be_read_are_bad_samples(folder: Path) -> None:
    file = write(folder, "path,label\n" + rows("ab" * 15))
    source = ManifestSource(file, other_file=write(folder, "path,label\n", "o.csv"))
    (folder / "pictures" / "0.png").unlink()
    (folder / "pictures" / "1.png").write_bytes(b"no image")
    for index, reason in enumerate(["cannot be opened: No such file", "not an image"]):
        with pytest.raises(BadSample, match=reason):
            source.read(index)


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "column that is not there": ("path,label\n{rows}", {"label": "lable"}, "no column 'lable'; did you mean 'label'?"),
    "image column that is not there": ("path,label\n{rows}", {"image": "paths"}, "did you mean 'path'?"),
    "two columns that could be the label": ("path,one,two\n{more}", {}, "2 columns could hold the labels (one, two)"),
    "no image column": ("id,label\n1,a\n2,b\n", {}, "no column seems to hold the images (id, label)"),
    "empty file": ("", {}, "is empty"),
    "header alone": ("path,label\n", {}, "has a header (path, label) and no rows"),
    "header twice": ("path,label,label\n{more}", {}, "has 2 columns named 'label'"),
    "column without a name": ("path,,label\n{more}", {}, "column 2 of the header has no name"),
    "wrong delimiter": ("path:label\npictures/0.png:a\n", {}, "has one column, 'path:label'"),
    "ragged line": ("path,label\n{rows}pictures/9.png,a,b\n", {}, "line 12 has 3 cells, and the header names 2"),
    "open quote": ('path,label\npictures/0.png,"a\n', {}, "A quote that is opened must be closed"),
    "empty label": ("path,label\n{rows}pictures/9.png,\n", {}, "line 12 has no label (the column 'label' is empty"),
    "images elsewhere": ("path,label\nelse/0.png,a\nelse/1.png,b\n", {}, "Relative paths start from the folder of the"),
    "addresses": ("path,label\nhttp://x/0.png,a\nhttp://x/1.png,b\n", {}, "is an address"),
    "split that is none": ("path,label,split\n{splits}", {}, "has 'trian' in the column 'split'"),
    "no rows for the split": ("path,label\n{rows}", {"split": "test"}, "no rows for the split 'test'"),
    "unknown class in validation": (
        "path,label,split\n{held}", {"split": "validation"}, "the class 'cot' in the column 'label', which is none",
    ),
    "a number a row": ("path,label\n{numbers}", {}, "has 30 different values in 30 samples"),
    "no 0 or 1": ("path,a,b\npictures/0.png,1,7\n", {"label_columns": ["a", "b"]}, "line 2 has '7' in the column 'b'"),
    "two ways to label": (
        "path,a,b\npictures/0.png,1,0\n", {"label_columns": ["a"], "label": "a"}, "give one or the other",
    ),
    "unknown class": ("path,label\n{rows}", {"classes": ["a", "c"]}, "the class 'b' in the column 'label'"),
    "class twice": ("path,label\n{rows}", {"classes": ["a", "b", "a"]}, "classes names 'a' more than once"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WRONG)
def test_what_is_wrong_is_told(mistake: str, folder: Path) -> None:
    text, options, message = WRONG[mistake]
    text = text.replace("{rows}", rows("ab" * 5)).replace("{more}", rows("ab" * 5, extra="cd" * 5))
    text = text.replace("{splits}", rows("ab", extra=["train", "trian"])).replace("{numbers}", rows(range(30)))
    text = text.replace("{held}", rows(["cat", "cot"], extra=["train", "val"]))
    with pytest.raises(UserError) as error:
        ManifestSource(write(folder, text), **options)
    assert message in str(error.value)
    assert "labels.csv" in str(error.value) or "classes" in str(error.value)


def test_files_that_are_no_table_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "path,label\n" + rows("ab"))
    for name, content, message in [
        ("a.xlsx", b"x", "a manifest is a table in a file that ends in .csv, .tsv"),
        ("b.csv", b"path,label\n\xff\xfe,a\n", "is not UTF-8 text (byte 11)"),
        ("c.parquet", b"no parquet", "cannot be read as Parquet"),
    ]:
        (folder / name).write_bytes(content)
        with pytest.raises(UserError) as error:
            ManifestSource(str(folder / name))
        assert message in str(error.value)
    with pytest.raises(UserError, match=r"has no 'label.csv'; did you mean .*'labels.csv'"):
        ManifestSource(str(folder / "label.csv"))
    with pytest.raises(UserError, match="is a folder, not a file"):
        ManifestSource(str(folder))
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'triptych\[parquet\]'"):
        ManifestSource(str(folder / "c.parquet"))
