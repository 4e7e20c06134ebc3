"""Sounds with captions in every storage: the same waveforms and captions come out; images in their place are told."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from triptych.data.captions import WrittenCaption
from triptych.data.pair_source import PairSource
from triptych.data.pairs_sets import DatasetPairs
from triptych.data.pairs_shards import ShardPairs
from triptych.data.pairs_table import TablePairs
from triptych.data.sound import Sounds
from triptych.errors import UserError

SOUNDS = Sounds(16_000)
CAPTION = WrittenCaption(("caption",))
COUNT = 10
WriteTar = Callable[[Path, dict[str, bytes]], Path]


def in_shards(folder: Path, sounds: list[bytes], write_tar: WriteTar) -> PairSource:
    members: dict[str, bytes] = {}
    for number, data in enumerate(sounds):
        members[f"{number:02}.flac"] = data
        members[f"{number:02}.json"] = json.dumps({"caption": f"sound {number}", "name": f"n{number // 2}"}).encode()
    write_tar(folder / "train-0.tar", members)
    return ShardPairs(str(folder), CAPTION, concept="name", medium=SOUNDS)


def in_table(folder: Path, sounds: list[bytes], write_tar: WriteTar) -> PairSource:
    rows = ["file,caption,name"]
    for number, data in enumerate(sounds):
        (folder / f"{number}.flac").write_bytes(data)
        rows.append(f"{number}.flac,sound {number},n{number // 2}")
    (folder / "other.csv").write_text("\n".join(rows[:2]))
    (folder / "t.csv").write_text("\n".join(rows))
    table = TablePairs(
        str(folder / "t.csv"), CAPTION, concept="name", other_file=str(folder / "other.csv"), medium=SOUNDS
    )
    return table


def in_set(folder: Path, sounds: list[bytes], write_tar: WriteTar) -> PairSource:
    datasets = pytest.importorskip("datasets")
    columns = {
        "sound": [{"bytes": data, "path": None} for data in sounds],
        "caption": [f"sound {number}" for number in range(len(sounds))],
        "name": [f"n{number // 2}" for number in range(len(sounds))],
    }
    made = datasets.Dataset.from_dict(columns).cast_column("sound", datasets.Audio())
    datasets.DatasetDict({"train": made, "validation": made}).save_to_disk(str(folder))
    return DatasetPairs(CAPTION, str(folder), concept="name", medium=SOUNDS)


@pytest.mark.parametrize("make", [in_shards, in_table, in_set])
def test_every_storage_gives_the_same_sounds_and_captions(
    make: Callable[[Path, list[bytes], WriteTar], PairSource],
    tmp_path: Path,
    sound: Callable[..., bytes],
    waveform: Callable[..., Tensor],
    write_tar: WriteTar,
) -> None:
    source = make(tmp_path, [sound(number) for number in range(COUNT)], write_tar)
    assert len(source) == COUNT
    assert source.classes == [f"n{number}" for number in range(COUNT // 2)]
    for index in range(COUNT):
        found, concept = source.read(index)
        assert torch.equal(torch.as_tensor(found), waveform(index))
        assert source.captions(index) == [f"sound {index}"]
        assert concept == index // 2


def test_images_in_place_of_sounds_are_told(tmp_path: Path, png: Callable[..., bytes], write_tar: WriteTar) -> None:
    write_tar(tmp_path / "a.tar", {"x.png": png(1), "x.json": b'{"caption": "x"}'})
    with pytest.raises(UserError, match=r"no sounds in 1 shards .*members end in json, png, sounds in wav, flac"):
        ShardPairs(str(tmp_path), CAPTION, medium=SOUNDS)
    (tmp_path / "t.csv").write_text("file,caption\n0.png,x\n")
    with pytest.raises(UserError, match="no column seems to hold the sounds"):
        TablePairs(str(tmp_path / "t.csv"), CAPTION, medium=SOUNDS)
    with pytest.raises(UserError, match="sound folder nowhere does not exist"):
        TablePairs(str(tmp_path / "t.csv"), CAPTION, root="nowhere", medium=SOUNDS)
