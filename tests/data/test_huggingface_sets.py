"""Sets of the library `datasets` from this machine's disk: features tell the columns, splits go by name."""

import logging
import pickle
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from triptych.data.huggingface_sets import DatasetSource
from triptych.data.module import ImageData
from triptych.data.source import BadSample, EncodedSource
from triptych.data.transforms import CentreCrop
from triptych.errors import UserError

datasets = pytest.importorskip("datasets")
Png = Callable[..., bytes]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def made(png: Png) -> Callable[..., Any]:
    """`made([0, 1], kinds)` is a set whose image n is `picture(n)`."""

    def make(labels: Sequence[Any], feature: Any, first: int = 0, **more: Sequence[Any]) -> Any:
        images = [{"bytes": png(first + place), "path": None} for place in range(len(labels))]
        set_ = datasets.Dataset.from_dict({"picture": images, "kind": list(labels), **more})
        return set_.cast_column("picture", datasets.Image()).cast_column("kind", feature)

    return make


def kinds(*names: str) -> Any:
    return datasets.ClassLabel(names=list(names))


def save(sets: Any, folder: Path) -> str:
    (datasets.DatasetDict(sets) if isinstance(sets, dict) else sets).save_to_disk(str(folder))
    return str(folder)


def test_features_tell_all(
    made: Callable[..., Any], tmp_path: Path, pixels: Callable[[int], Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    cat_dog = kinds("dog", "cat")
    root = save({"train": made([0, 1, 1], cat_dog), "valid": made([1], cat_dog, first=7), "test": made([0], cat_dog)},
                tmp_path / "saved")  # fmt: skip
    with caplog.at_level(logging.INFO, "triptych.data"):
        train, held = DatasetSource(root), DatasetSource(root, split="validation")
    assert "images from the column 'picture', labels from 'kind'" in caplog.text
    assert (train.classes, len(train), len(held), len(DatasetSource(root, split="test"))) == (["dog", "cat"], 3, 1, 1)
    assert [train.read(index)[1] for index in range(3)] == [0, 1, 1]
    assert torch.equal(held.read(0)[0], pixels(7))
    assert isinstance(train, EncodedSource)
    assert pickle.loads(pickle.dumps(train)).encoded(2) == train.encoded(2)


def test_a_split_is_made_where_there_is_none(made: Callable[..., Any], tmp_path: Path) -> None:
    root = save(made([0, 1] * 10, kinds("a", "b")), tmp_path / "saved")
    train = DatasetSource(root, validation_fraction=0.2)
    held = DatasetSource(root, split="validation", validation_fraction=0.2)
    assert [held.target(index) for index in range(len(held))].count(0) == 2
    assert (len(train), len(held)) == (16, 4)
    assert not {train.encoded(n) for n in range(16)} & {held.encoded(n) for n in range(4)}


def test_several_labels(made: Callable[..., Any], tmp_path: Path) -> None:
    several = datasets.Sequence(kinds("x", "y", "z"))
    source = DatasetSource(
        save({"train": made([[0, 2], [], [1]], several), "val": made([[2]], several)}, tmp_path / "s")
    )
    assert (source.multilabel, source.classes) == (True, ["x", "y", "z"])
    assert [torch.as_tensor(source.target(n)).tolist() for n in range(3)] == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(("labels", "classes"), [(["b", "a", "b"], ["a", "b"]), ([10, 9, 10], ["9", "10"])])
def test_labels_without_names(labels: list[Any], classes: list[str], made: Callable[..., Any], tmp_path: Path) -> None:
    feature = datasets.Value("string" if isinstance(labels[0], str) else "int64")
    root = save({"train": made(labels, feature), "validation": made(labels[:1], feature)}, tmp_path / "s")
    assert DatasetSource(root, label="kind").classes == DatasetSource(root, split="validation").classes == classes
    assert DatasetSource(root, split="validation").target(0) == 1


def test_a_folder_of_parquet_and_one_of_images(
    made: Callable[..., Any], tmp_path: Path, image_folder: Callable[[dict[str, int]], Path]
) -> None:
    (tmp_path / "p").mkdir()
    for split, count in (("train", 6), ("test", 2)):
        made([0, 1] * (count // 2), kinds("a", "b")).to_parquet(tmp_path / "p" / f"{split}-00000.parquet")
    source = DatasetSource(str(tmp_path / "p"), validation_fraction=0.34)
    assert (source.classes, len(source), len(DatasetSource(str(tmp_path / "p"), split="test"))) == (["a", "b"], 4, 2)
    root = image_folder({"train/cat": 3, "train/dog": 2, "validation/cat": 1, "validation/dog": 1})
    folder = DatasetSource(str(root))
    assert (folder.classes, len(folder), len(DatasetSource(str(root), split="validation"))) == (["cat", "dog"], 5, 2)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_are_skipped_and_workers_agree(
    workers: int, made: Callable[..., Any], tmp_path: Path, png: Png, caplog: pytest.LogCaptureFixture
) -> None:
    train = made([0, 1] * 10, kinds("a", "b"))
    bad = [{"bytes": b"no image" if n == 4 else png(n), "path": f"{n}.png"} for n in range(20)]
    train = train.remove_columns("picture").add_column("picture", bad).cast_column("picture", datasets.Image())
    root = save({"train": train, "val": made([0, 1], kinds("a", "b"))}, tmp_path / "s")
    data = ImageData(
        train=DatasetSource, validation=partial(DatasetSource, split="validation"), augment=CentreCrop(12),
        evaluate=CentreCrop(12), batch_size=5, image_size=12, mean=[0.5] * 3, std=[0.5] * 3, workers=workers,
        max_bad_fraction=0.1, root=root,
    )  # fmt: skip
    batches = [
        (batch["index"].tolist(), batch["image"].sum(dim=(1, 2, 3)).tolist()) for batch in data.train_dataloader()
    ]
    seen = dict(zip(sum((b[0] for b in batches), []), sum((b[1] for b in batches), []), strict=True))  # noqa: RUF017
    assert sorted(seen) == [n for n in range(20) if n != 4]
    source = DatasetSource(root)
    assert all(int(source.read(n)[0].sum()) == total for n, total in seen.items())
    assert data.skipped == 1
    assert "s/train[4] (4.png): not an image" in caplog.text
    with pytest.raises(BadSample):
        source.read(4)


def test_what_is_wrong_is_told(made: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = kinds("a", "b")
    good = save({"train": made([0, 1], two), "val": made([0], two)}, tmp_path / "good")
    coarse = save(made([0, 1], two, coarse=[1, 0]).cast_column("coarse", two), tmp_path / "coarse")
    no_label = save({"train": made([0, -1], two), "val": made([0], two)}, tmp_path / "no_label")
    odd = save({"first": made([0], two), "second": made([1], two)}, tmp_path / "odd")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "train.csv").write_text("text,label\nhello,a\n")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"root": good, "image": "pictur"}, "has no column 'pictur'; did you mean 'picture'?"),
        ({"root": good, "label": "kid"}, "did you mean 'kind'?"),
        ({"root": good, "split": "test"}, "has no split 'test': it has train, validation"),
        ({"root": coarse}, "2 columns could hold the labels (kind, coarse)"),
        ({"root": no_label}, "train[1] has no label"),
        ({"root": odd}, "has the splits first, second, none of which has a known name"),
        ({"root": str(tmp_path / "empty")}, "cannot be loaded: The directory at"),
        ({"root": str(tmp_path / "text")}, "no column seems to hold the images (text, label)"),
        ({"root": str(tmp_path / "god")}, "has no 'god'; did you mean 'good'"),
        ({}, "no data set is named: give data.root=FOLDER"),
        ({"root": good, "hub": "a/b"}, "are both set"),
    ]
    for options, message in cases:
        with pytest.raises(UserError) as error:
            DatasetSource(**options)
        assert message in str(error.value)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'triptych\[datasets\]'"):
        DatasetSource(good)


def test_only_a_named_set_of_the_hub_is_asked_for(made: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def fetch(*words: Any) -> Any:
        asked.append(words)
        return datasets.DatasetDict(train=made([0, 1] * 5, kinds("a", "b")))

    monkeypatch.setattr(datasets, "load_dataset", fetch)
    with pytest.raises(UserError):
        DatasetSource()
    assert asked == []
    assert len(DatasetSource(hub="someone/pictures", subset="small")) == 8
    assert asked == [("someone/pictures", "small")]
