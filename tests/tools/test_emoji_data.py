"""The shipped shards, read with tarfile, json and PIL alone: whole, fair, and with no held-out thing in training."""

import io
import json
import tarfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

DATA = Path(__file__).resolve().parents[2] / "data" / "emoji"
FIELDS = {"caption", "tags", "group", "subgroup", "style", "emoji", "hexcode"}
LARGEST = 10_000_000
LARGEST_SHARD = 2_000_000


@dataclass(frozen=True)
class Stored:
    """One sample as it lies in a shard."""

    shard: str
    key: str
    fields: dict[str, Any]
    pixels: np.ndarray


def read_shard(path: Path) -> list[Stored]:
    parts: dict[str, dict[str, bytes]] = defaultdict(dict)
    with tarfile.open(path) as tar:
        for member in tar:
            key, extension = member.name.split(".", 1)
            data = tar.extractfile(member)
            assert data is not None, f"{member.name} in {path.name} is no plain file"
            assert extension not in parts[key], f"{member.name} lies twice in {path.name}"
            parts[key][extension] = data.read()
    samples = []
    for key, part in parts.items():
        assert set(part) == {"webp", "json"}, key
        with Image.open(io.BytesIO(part["webp"])) as picture:
            assert picture.format == "WEBP"
            assert picture.mode == "RGB"
            samples.append(Stored(path.name, key, json.loads(part["json"]), np.asarray(picture)))
    return samples


@pytest.fixture(scope="module")
def info() -> dict[str, Any]:
    return json.loads((DATA / "info.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def splits(info: dict[str, Any]) -> dict[str, list[Stored]]:
    return {
        name: [sample for shard in split["shards"] for sample in read_shard(DATA / shard)]
        for name, split in info["splits"].items()
    }


@pytest.fixture(scope="module")
def samples(splits: dict[str, list[Stored]]) -> list[Stored]:
    return [sample for stored in splits.values() for sample in stored]


def concepts(stored: list[Stored]) -> set[str]:
    return {sample.fields["hexcode"] for sample in stored}


def styles(stored: list[Stored]) -> set[str]:
    return {sample.fields["style"] for sample in stored}


def test_everything_together_is_at_most_ten_megabytes():
    sizes = {path: path.stat().st_size for path in DATA.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= LARGEST
    assert max(sizes.values()) <= LARGEST_SHARD


def test_info_lists_each_shard_and_counts_its_samples(info: dict[str, Any], splits: dict[str, list[Stored]]):
    assert sorted(shard for split in info["splits"].values() for shard in split["shards"]) == sorted(
        path.name for path in DATA.glob("*.tar*")
    )
    assert {name: split["samples"] for name, split in info["splits"].items()} == {
        name: len(stored) for name, stored in splits.items()
    }
    for name, stored in splits.items():
        counted = Counter(sample.fields["group"] for sample in stored)
        assert info["samples_by_group"][name] == {group: counted[group] for group in info["groups"]}


def test_size_and_breadth_are_as_promised(info: dict[str, Any], samples: list[Stored]):
    assert info["concepts"] == len(concepts(samples))
    assert 1600 <= info["concepts"] <= 1900
    assert styles(samples) == set(info["styles"])
    assert len(info["styles"]) >= 5
    assert len(info["groups"]) == 10


def test_each_sample_says_all_about_itself(info: dict[str, Any], samples: list[Stored]):
    for sample in samples:
        fields = sample.fields
        assert set(fields) == FIELDS, sample.key
        assert sample.key == f"{fields['hexcode']}_{fields['style']}"
        assert fields["group"] in info["groups"]
        assert fields["caption"]
        assert fields["subgroup"]
        spelled = [f"{ord(character):04X}" for character in fields["emoji"]]
        plain = [code for code in fields["hexcode"].split("-") if code != "FE0F"]
        assert [code for code in spelled if code != "FE0F"] == plain
        assert all(isinstance(tag, str) and tag for tag in fields["tags"])


def test_one_concept_says_the_same_in_every_style(samples: list[Stored]):
    told: dict[str, tuple[object, ...]] = {}
    for sample in samples:
        fields = sample.fields
        words = (fields["caption"], tuple(fields["tags"]), fields["group"], fields["subgroup"], fields["emoji"])
        assert told.setdefault(fields["hexcode"], words) == words


def test_no_key_lies_twice(samples: list[Stored]):
    repeated = [key for key, count in Counter(sample.key for sample in samples).items() if count > 1]
    assert repeated == []


def test_pictures_have_the_stored_size_and_show_something(info: dict[str, Any], samples: list[Stored]):
    size = info["image_size"]
    for sample in samples:
        assert sample.pixels.shape == (size, size, 3), sample.key
        spread = sample.pixels[::2, ::2].astype(np.float32).std(axis=(0, 1)).max()
        assert spread > 3, f"{sample.key} is blank"


def test_the_held_out_style_is_never_trained_on(info: dict[str, Any], splits: dict[str, list[Stored]]):
    assert info["held_out_style"] == "twemoji"
    assert styles(splits["train"]) == set(info["styles"]) - {"twemoji"}
    assert styles(splits["held_out_style"]) == {"twemoji"}
    assert concepts(splits["held_out_style"]) >= concepts(splits["train"])


def test_held_out_concepts_are_held_out_in_every_style(info: dict[str, Any], splits: dict[str, list[Stored]]):
    held_out = concepts(splits["held_out_concepts"])
    assert len(held_out) == 150
    assert not held_out & concepts(splits["train"])
    assert not held_out & concepts(splits["held_out_style"])
    assert styles(splits["held_out_concepts"]) == set(info["styles"])
    assert {sample.fields["group"] for sample in splits["held_out_concepts"]} == set(info["groups"])


@pytest.mark.parametrize("pair", [("fluent-flat", "fluent-3d"), ("noto", "noto-v1")])
def test_sets_by_one_hand_lie_on_one_side(splits: dict[str, list[Stored]], pair: tuple[str, str]):
    sides: dict[str, set[str]] = defaultdict(set)
    for name, stored in splits.items():
        for sample in stored:
            if sample.fields["style"] in pair:
                sides[sample.fields["hexcode"]].add(name)
    assert all(len(names) == 1 for names in sides.values())


def test_each_shard_is_a_fair_draw(info: dict[str, Any], splits: dict[str, list[Stored]]):
    whole = Counter(sample.fields["group"] for sample in splits["train"])
    for shard in info["splits"]["train"]["shards"]:
        here = Counter(sample.fields["group"] for sample in splits["train"] if sample.shard == shard)
        for group in info["groups"]:
            expected = whole[group] / whole.total() * here.total()
            # Five standard deviations of a Poisson count: sorted or clustered shards are far outside.
            assert abs(here[group] - expected) < 5 * expected**0.5 + 1, group


def test_mean_and_deviation_are_those_of_the_training_split(info: dict[str, Any], splits: dict[str, list[Stored]]):
    total, squares, pixels = np.zeros(3), np.zeros(3), 0
    for sample in splits["train"]:
        values = sample.pixels.reshape(-1, 3) / 255
        total += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
        pixels += len(values)
    mean = total / pixels
    np.testing.assert_allclose(info["mean"], mean, atol=2e-3)
    np.testing.assert_allclose(info["std"], np.sqrt(squares / pixels - mean**2), atol=2e-3)


def test_each_style_has_its_licence_beside_it(info: dict[str, Any]):
    lines = (DATA / "LICENSES.md").read_text(encoding="utf-8").splitlines()
    for style in info["styles"]:
        (row,) = (line for line in lines if line.startswith(f"| {style} |"))
        (text,) = (path for path in (DATA / "licenses").iterdir() if f"licenses/{path.name}" in row)
        assert len(text.read_text(encoding="utf-8")) > 1000


def test_no_picture_occurs_twice(samples: list[Stored]):
    keys: dict[bytes, list[str]] = defaultdict(list)
    for sample in samples:
        keys[sample.pixels.tobytes()].append(sample.key)
    assert not [same for same in keys.values() if len(same) > 1]
