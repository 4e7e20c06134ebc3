"""Image folders in the layouts that people have; splits are matched by class name."""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from triptych.data.folder import FolderSource
from triptych.data.source import BadSample
from triptych.errors import UserError

ImageFolder = Callable[[dict[str, int]], Path]


def names(source: FolderSource) -> set[str]:
    return {source.name(index) for index in range(len(source))}


@pytest.mark.parametrize("training", ["train", "Training"])
@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val", "VALID"])
def test_split_folders(training: str, validation: str, image_folder: ImageFolder) -> None:
    root = image_folder({f"{training}/cat": 3, f"{training}/dog": 2, f"{validation}/dog": 4, "Testing/cat": 1})
    train, held = FolderSource(str(root)), FolderSource(str(root), split="validation")
    assert (len(train), len(held), len(FolderSource(str(root), split="test"))) == (5, 4, 1)
    assert train.classes == held.classes == ["cat", "dog"]
    # The validation split lacks the class cat, and dog is still class 1.
    assert {held.read(index)[1] for index in range(4)} == {1}


def test_labels_are_those_of_the_folders(image_folder: ImageFolder) -> None:
    source = FolderSource(str(image_folder({"train/b/deep/er": 1, "train/a": 2, "val/a": 1})))
    assert [Path(source.name(index)).parts[-2] for index in range(3)] == ["a", "a", "er"]
    assert [source.read(index)[1] for index in range(3)] == [0, 0, 1]


def test_a_split_is_made_where_there_is_none(image_folder: ImageFolder, caplog: pytest.LogCaptureFixture) -> None:
    root = image_folder({"cat": 20, "dog": 10, "owl": 1, "fox": 2})
    with caplog.at_level("INFO", "triptych.data"):
        train, held = FolderSource(str(root)), FolderSource(str(root), split="validation")
    assert "no folder for validation" in caplog.text
    assert not names(train) & names(held)
    assert len(names(train) | names(held)) == 33
    labels = [held.classes[held.read(index)[1]] for index in range(len(held))]
    assert {name: labels.count(name) for name in train.classes} == {"cat": 2, "dog": 1, "fox": 1, "owl": 0}


def test_the_made_split_never_changes(image_folder: ImageFolder) -> None:
    root = image_folder({"train/cat": 20, "test/cat": 3})
    first = FolderSource(str(root), split="validation", validation_fraction=0.25)
    assert names(first) == names(FolderSource(str(root), split="validation", validation_fraction=0.25))
    assert len(first) == 5


def test_a_test_folder_beside_classes_is_no_class(image_folder: ImageFolder) -> None:
    root = image_folder({"cat": 10, "dog": 10, "test/cat": 2, "test/dog": 1})
    assert FolderSource(str(root)).classes == ["cat", "dog"]
    assert len(FolderSource(str(root), split="test")) == 3


def test_a_class_may_have_the_name_of_a_split(image_folder: ImageFolder) -> None:
    source = FolderSource(str(image_folder({"car": 4, "train": 4, "ship": 4})))
    assert source.classes == ["car", "ship", "train"]
    inside = FolderSource(str(image_folder({"train/train": 4, "train/car": 4, "val/train": 1})), split="validation")
    assert (inside.classes, inside.target(0)) == (["car", "train"], 1)


def test_accents_of_any_file_system_match(image_folder: ImageFolder) -> None:
    composed, apart = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
    root = image_folder({f"train/{composed}": 2, "train/Bo": 2, f"val/{apart}": 1})
    assert FolderSource(str(root), split="validation").target(0) == 1


def test_what_is_no_image_is_left_out(image_folder: ImageFolder) -> None:
    root = image_folder({"train/cat": 2, "val/cat": 1, "train/.hidden": 1, "train/__MACOSX": 1})
    for name in ("notes.txt", ".DS_Store", "._0.png"):
        (root / "train" / "cat" / name).write_text("x")
    (root / "LICENSE").write_text("x")
    source = FolderSource(str(root))
    assert source.classes == ["cat"]
    assert len(source) == 2


def test_a_bad_image_says_why(image_folder: ImageFolder) -> None:
    root = image_folder({"train/cat": 2, "val/cat": 1})
    source = FolderSource(str(root))
    Path(source.name(0)).write_bytes(b"no image")
    Path(source.name(1)).unlink()
    for index, reason in enumerate(["not an image", "cannot be opened: No such file"]):
        with pytest.raises(BadSample, match=reason):
            source.read(index)


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ({"train/cat": 1}, {"split": "test"}, "no folder for the split 'test'"),
        ({"train/cat": 1}, {"split": "valid"}, "did you mean 'validation'"),
        ({"train": 2}, {}, r"no class folders \(and 2 images of its own\)"),
        ({"train/cat": 1, "train/dog": 0}, {}, "1 of the 2 class folders of .* have no images: dog"),
        ({"train/cat": 0, "train/dog": 0}, {}, "no images in the 2 class folders"),
        (
            {"train/cat": 1, "val/cot": 1},
            {"split": "validation"},
            "'cot', which is none of the 1 classes; did you mean 'cat'",
        ),
        ({"train/a": 1, "val/a": 1, "valid/a": 1}, {}, "two folders for validation, 'val' and 'valid'"),
        ({"val/a": 1, "test/a": 1}, {}, r"a folder for (test|validation) and (test|validation) and none for training"),
        ({"cat": 1}, {"split": "validation"}, "no images for the split 'validation'"),
        ({"cat": 3}, {"validation_fraction": 1}, "validation_fraction is 1"),
    ],
)
def test_what_is_wrong_is_told(
    counts: dict[str, int], options: dict[str, Any], message: str, image_folder: ImageFolder
) -> None:
    root = image_folder(counts)
    with pytest.raises(UserError, match=message):
        FolderSource(str(root), **options)


def test_a_missing_folder_shows_its_neighbours(image_folder: ImageFolder) -> None:
    root = image_folder({"cat": 1})
    with pytest.raises(UserError, match=r"has no 'image'; did you mean 'images'\?"):
        FolderSource(str(root.parent / "image"))
    with pytest.raises(UserError, match=r"has no 'imagse'; did you mean 'images'\?"):
        FolderSource(str(root.parent / "imagse" / "train"))
    with pytest.raises(UserError, match="is a file, not a folder"):
        FolderSource(str(next((root / "cat").iterdir())))


def test_real_images(shared_data: Path) -> None:
    folder = str(shared_data / "signdigits")
    train, held = FolderSource(folder), FolderSource(folder, split="validation")
    assert len(train) + len(held) == 2062
    assert train.classes == [str(digit) for digit in range(10)]
    image, label = train.read(0)
    assert image.shape == (3, 64, 64)
    assert label == 0
    assert 20 < image.float().mean() < 235
