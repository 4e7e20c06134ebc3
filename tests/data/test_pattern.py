"""Labels, folds and splits that file names tell."""

import logging
from pathlib import Path

import pytest
import torch

from triptych.data.folds import EACH, Folds
from triptych.data.pattern import PatternSource
from triptych.data.sound import Sounds
from triptych.errors import UserError

from ..sounds import RATE, tone, write

SOUNDS = Sounds(RATE)
PATTERN = r"(?P<label>[a-z]+)_(?P<fold>\w+?)_\d+\.wav"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 6 sounds by three speakers, at two depths, and a file that fits no pattern."""
    for number in range(12):
        name = f"{['cat', 'dog'][number % 2]}_{['ann', 'bob', 'cid'][number // 2 % 3]}_{number}.wav"
        write(tmp_path / ("deep/er" if number > 6 else ".") / name, tone(300 + number, seed=number))
    write(tmp_path / "noise.wav", tone(99))
    (tmp_path / "cat_ann_99.txt").write_text("no sound")
    return tmp_path


def names(source: PatternSource) -> set[str]:
    return {Path(source.name(index)).name for index in range(len(source))}


def test_files_labels_and_folds_are_those_of_the_names(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "triptych.data"):
        held = PatternSource(str(folder), PATTERN, "validation", Folds("bob"), medium=SOUNDS)
    rest = PatternSource(str(folder), PATTERN, "train", Folds("bob"), medium=SOUNDS)
    assert "1 of 13 sounds of" in caplog.text
    assert (held.classes, list(held.folds)) == (["cat", "dog"], ["ann", "bob", "cid"])
    assert (len(held), len(rest)) == (4, 8)
    assert all("_bob_" in name for name in names(held))
    assert all("_bob_" not in name for name in names(rest))
    for source in (held, rest):
        for index in range(len(source)):
            waveform, label = source.read(index)
            path = Path(source.name(index))
            assert source.classes[label] == path.name.partition("_")[0]
            number = int(path.stem.rpartition("_")[2])
            assert torch.equal(waveform[0], torch.from_numpy(tone(300 + number, seed=number)))
    each = PatternSource(str(folder), PATTERN, "train", Folds(EACH), medium=SOUNDS)
    assert len(each) == 12


def test_without_folds_a_part_of_each_class_is_held_back(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "triptych.data"):
        parts = [PatternSource(str(folder), PATTERN, split, None, 0.34, medium=SOUNDS) for split in (
            "train", "validation")]  # fmt: skip
    assert "nothing says which files of" in caplog.text
    assert names(parts[0]).isdisjoint(names(parts[1]))
    assert len(names(parts[0]) | names(parts[1])) == 12
    assert [parts[1].target(index) for index in range(len(parts[1]))].count(0) == len(parts[1]) / 2
    again = PatternSource(str(folder), PATTERN, "validation", None, 0.34, medium=SOUNDS)
    assert names(again) == names(parts[1]), "the same ones in every run"


def test_a_group_can_name_the_split(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "train", "val", "test")):
        write(tmp_path / split / f"{'ab'[number % 2]}{number}.wav", tone(200))
    pattern = r"(?P<split>\w+)/(?P<label>[ab])"
    counts = [len(PatternSource(str(tmp_path), pattern, split, medium=SOUNDS)) for split in (
        "train", "validation", "test")]  # fmt: skip
    assert counts == [2, 1, 1]
    write(tmp_path / "tset" / "a9.wav", tone(200))
    with pytest.raises(UserError, match=r"'tset' in .*, which names no split; did you mean 'test'"):
        PatternSource(str(tmp_path), pattern, medium=SOUNDS)


def test_mistakes_are_told(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    def refused(message: str, pattern: str = PATTERN, root: Path = folder, **settings: object) -> None:
        with pytest.raises(UserError, match=message):
            PatternSource(str(root), pattern, **{"medium": SOUNDS, **settings})  # pyright: ignore[reportArgumentType]

    refused(r"has no group for the class: write \(\?P<label>\.\.\.\) around it", r"([a-z]+)_")
    refused(r"pattern '\(\?P<label>\[a-z' is no regular expression: unterminated", "(?P<label>[a-z")
    refused(r"fits none of the 13 sounds in .*, such as ", r"(?P<label>\d+)-(?P<fold>\d+)")
    refused(r"folds\.held_out is 'bab', which is no fold; did you mean 'bob'", folds=Folds("bab"))
    refused(r"has no group \(\?P<fold>\.\.\.\)", r"(?P<label>[a-z]+)_", folds=Folds("bob"))
    refused(r"has no split 'test': the pattern .* has no group \(\?P<split>", split="test")
    refused("has no sounds for the split 'validation'", split="validation", folds=Folds(EACH))
    refused("no images in", medium=None)
    empty = tmp_path_factory.mktemp("empty")
    refused(r"no sounds in .*: files that end in wav, flac", root=empty)
    refused(r"gone", root=empty / "gone")
    refused(r"fits none of the 13 sounds", r"(?P<label>x)?")
    many = tmp_path_factory.mktemp("many")
    for number in range(24):
        write(many / f"{number}.wav", tone(100, 0.01))
    refused(r"has 24 different values in 24 rows.* too many for classes", r"(?P<label>\d+)", root=many)
