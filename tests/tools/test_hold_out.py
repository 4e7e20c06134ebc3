"""The copies that settings are chosen on: split inside the training part, nothing of the test in them."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from tools.hold_out import split_emoji, split_fashion_mnist
from triptych.data.shards import ShardSource
from triptych.data.torchvision_sets import fashion_mnist

pytestmark = pytest.mark.slow

EMOJI = Path(__file__).resolve().parents[2] / "data" / "emoji"


def names(folder: Path, shards: str) -> set[str]:
    source = ShardSource(str(folder), shards, "group")
    return {source.name(index).rpartition("/")[2] for index in range(len(source))}


def test_emoji_is_split_by_style_and_concept_within_its_training_part(tmp_path: Path) -> None:
    counts = split_emoji(EMOJI, tmp_path, "emojione")
    parts = {split: names(tmp_path, f"{split}-*.tar.gz") for split in counts}
    assert {split: len(part) for split, part in parts.items()} == counts
    assert set.union(*parts.values()) == names(EMOJI, "train-*.tar.gz")
    styles = {split: {name.split("_")[1] for name in part} for split, part in parts.items()}
    assert styles["held_out_style"] == {"emojione"}
    assert "emojione" not in styles["train"] | styles["held_out_concepts"]
    concepts = {split: {name.split("_")[0] for name in part} for split, part in parts.items()}
    assert not concepts["train"] & concepts["held_out_concepts"]
    assert 400 < counts["held_out_concepts"] < 800


def test_an_unknown_style_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="'twemoji'; there are emojione, fluent-3d"):
        split_emoji(EMOJI, tmp_path, "twemoji")


def test_fashion_mnist_is_split_at_the_end_of_its_training_part(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28), dtype=np.uint8)
    labels = (np.arange(50) % 10).astype(np.uint8)
    sizes = b"".join(size.to_bytes(4, "big") for size in images.shape)
    (source / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x03" + sizes + images.tobytes()))
    start = b"\0\0\x08\x01" + (50).to_bytes(4, "big")
    (source / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(start + labels.tobytes()))
    assert split_fashion_mnist(source, out, held_out=15) == {"train": 35, "t10k": 15}
    train, test = fashion_mnist(str(out), "train"), fashion_mnist(str(out), "test")
    for part, first in ((train, 0), (test, 35)):
        for index in range(len(part)):
            image, label = part.read(index)
            assert np.array_equal(image[0].numpy(), images[first + index])
            assert label == labels[first + index]
