"""Files whose names say what they show: labels, folds and splits by a regular expression, for every medium."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from triptych.data.folds import EACH, Folds
from triptych.data.pattern import PatternSource
from triptych.data.sound import Sounds
from triptych.data.source import EncodedSource
from triptych.errors import UserError

SPOKEN = r"(?P<label>\d)_(?P<fold>[a-z]+)_"
SOUNDS = Sounds(16_000)
SPEAKERS = ("ann", "bob", "cy")


@pytest.fixture
def spoken(tmp_path: Path, sound: Callable[..., bytes]) -> str:
    """`{digit}_{speaker}_{take}.wav`: 2 digits, 3 speakers, 5 takes, numbered in that order, some in folders."""
    root = tmp_path / "spoken"
    number = 0
    for digit in (3, 7):
        for speaker in SPEAKERS:
            for take in range(5):
                folder = root / ("more" if take > 3 else "")
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{digit}_{speaker}_{take}.wav").write_bytes(sound(number, "wav"))
                number += 1
    return str(root)


def names(source: PatternSource) -> set[str]:
    return {Path(source.name(index)).stem for index in range(len(source))}


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_a_fold_is_held_out(speaker: str, spoken: str, waveform: Callable[..., Tensor]) -> None:
    train, held = (
        PatternSource(spoken, SPOKEN, split, Folds(speaker), medium=SOUNDS) for split in ("train", "validation")
    )
    assert (len(train), len(held)) == (20, 10)
    assert all(speaker in name for name in names(held))
    assert not any(speaker in name for name in names(train))
    assert train.classes == held.classes == ["3", "7"]
    assert list(train.folds) == list(held.folds) == list(SPEAKERS)
    for index in range(len(held)):
        digit, who, take = Path(held.name(index)).stem.split("_")
        number = 15 * (digit == "7") + 5 * SPEAKERS.index(who) + int(take)
        found, label = held.read(index)
        assert torch.equal(found, waveform(number))
        assert held.classes[label] == digit


def test_each_trains_on_all(spoken: str) -> None:
    source = PatternSource(spoken, SPOKEN, folds=Folds(EACH), medium=SOUNDS)
    assert (len(source), list(source.folds)) == (30, list(SPEAKERS))


def test_without_folds_a_part_of_each_class_is_held_back(spoken: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "triptych.data"):
        train = PatternSource(spoken, SPOKEN, validation_fraction=0.2, medium=SOUNDS)
    held = PatternSource(spoken, SPOKEN, "validation", validation_fraction=0.2, medium=SOUNDS)
    assert "6 of 30 (0.2 of each class, always the same ones)" in caplog.text
    assert (len(train), len(held)) == (24, 6)
    assert not names(train) & names(held)
    assert sorted(held.target(index) for index in range(6)) == [0, 0, 0, 1, 1, 1]


def test_a_split_may_be_in_the_name(tmp_path: Path, png: Callable[..., bytes]) -> None:
    """Of images, of which nothing says that they are sounds."""
    for number, name in enumerate(["cat-train-0", "cat-Train-1", "dog-train-2", "dog-val-3", "dog-test-4"]):
        (tmp_path / f"{name}.png").write_bytes(png(number))
    pattern = r"(?P<label>[a-z]+)-(?P<split>\w+)-"
    sizes = {split: len(PatternSource(str(tmp_path), pattern, split)) for split in ("train", "validation", "test")}
    assert sizes == {"train": 3, "validation": 1, "test": 1}
    held = PatternSource(str(tmp_path), pattern, "validation")
    assert held.classes == ["cat", "dog"]
    image, label = held.read(0)
    assert (image.shape, label) == ((3, 12, 12), 1)


def test_the_pattern_sees_folders_too(tmp_path: Path, sound: Callable[..., bytes]) -> None:
    for number, name in enumerate(["ann/3/0.wav", "ann/7/0.wav", "bob/7/0.wav"]):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(sound(number, "wav"))
    source = PatternSource(str(tmp_path), r"^(?P<fold>\w+)/(?P<label>\d)/", folds=Folds("bob"), medium=SOUNDS)
    assert [source.target(index) for index in range(len(source))] == [0, 1]


def test_files_that_do_not_fit_are_left_out_and_counted(spoken: str, caplog: pytest.LogCaptureFixture) -> None:
    (Path(spoken) / "noise.wav").write_bytes(b"")
    with caplog.at_level("INFO", "triptych.data"):
        source = PatternSource(spoken, SPOKEN, folds=Folds("bob"), medium=SOUNDS)
    assert len(source) == 20
    assert "1 of 31 sounds" in caplog.text


def test_it_goes_to_workers(spoken: str) -> None:
    source = PatternSource(spoken, SPOKEN, folds=Folds("bob"), medium=SOUNDS)
    assert isinstance(source, EncodedSource)
    there = pickle.loads(pickle.dumps(source))
    assert torch.equal(there.read(3)[0], source.read(3)[0])


@pytest.mark.parametrize(
    ("pattern", "options", "message"),
    [
        (r"(?P<label>\d", {}, "is no regular expression: missing"),
        (r"\d_[a-z]+", {}, r"has no group for the class: write \(\?P<label>...\) around it"),
        (r"(?P<label>[A-Z])_", {}, r"fits none of the 30 sounds in .*, such as .*/3_ann_0.wav"),
        (r"(?P<label>\d)_", {"folds": Folds("bob")}, r"held_out=bob, but the pattern .* has no group \(\?P<fold>"),
        (SPOKEN, {"folds": Folds("bib")}, r"held_out is 'bib', which is no fold; did you mean 'bob'\?"),
        (SPOKEN, {"split": "test"}, r"has no split 'test': the pattern .* has no group \(\?P<split>"),
        (SPOKEN, {"split": "valid"}, r"split is 'valid'; did you mean 'validation'\?"),
        (SPOKEN, {"classes": ["3", "8"]}, r"the class '7' in the group \(\?P<label>...\), which is none of the 2 cl"),
    ],
)  # fmt: skip
def test_mistakes_are_told(pattern: str, options: dict[str, object], message: str, spoken: str) -> None:
    with pytest.raises(UserError, match=message):
        PatternSource(spoken, pattern, medium=SOUNDS, **options)  # pyright: ignore[reportArgumentType]


def test_another_medium_is_told(spoken: str) -> None:
    with pytest.raises(UserError, match=r"no images in .*; there are files that end in wav"):
        PatternSource(spoken, SPOKEN)
