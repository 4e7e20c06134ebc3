"""Parts of sound files that a table names."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from triptych.data.manifest import ManifestSource
from triptych.data.segment import Segment
from triptych.data.sound import Sounds
from triptych.data.source import BadSample
from triptych.errors import UserError

from ..sounds import RATE, encode, tone, write

SOUNDS = Sounds(RATE)
WHOLE = tone(400, 2.0)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write(tmp_path / "long.wav", WHOLE)
    rows = ["long.wav,0,0.5,a", "long.wav,0.5,1.25,b", "long.wav,1.25,,a", "long.wav,,0.3,b", "long.wav,1.5,2.5,b"]
    (tmp_path / "table.csv").write_text("\n".join(["file,begin,end,label", *rows]))
    return tmp_path / "table.csv"


def source(table: Path, **settings: object) -> ManifestSource:
    given = {"medium": SOUNDS, "segment": Segment("begin", "end"), "other_file": str(table) + ".none", **settings}
    Path(str(given["other_file"])).touch()
    return ManifestSource(str(table), **given)  # pyright: ignore[reportArgumentType]


def test_parts_are_slices_of_the_whole(table: Path) -> None:
    parts = source(table)
    for index, (begin, end) in enumerate([(0, 0.5), (0.5, 1.25), (1.25, 2.0), (0, 0.3)]):
        waveform, label = parts.read(index)
        assert np.array_equal(waveform[0].numpy(), WHOLE[round(begin * RATE) : round(end * RATE)])
        assert parts.classes[int(label)] == "abab"[index]
    assert parts.name(1) == f"{table.parent / 'long.wav'} from 0.5 to 1.25 s"
    assert parts.name(2) == f"{table.parent / 'long.wav'} from 1.25 s"
    with pytest.raises(BadSample, match=r"has no part from 1\.5 to 2\.5 s: it is 2 s long"):
        parts.read(4)


def test_a_start_or_an_end_alone(table: Path) -> None:
    ends = source(table, segment=Segment(end="end"), label="label")
    assert ends.read(1)[0].shape[1] == round(1.25 * RATE)
    starts = source(table, segment=Segment("begin"), label="label")
    assert starts.read(1)[0].shape[1] == round(1.5 * RATE)
    assert not Segment()


def test_sounds_within_the_table_have_parts_too(tmp_path: Path) -> None:
    data = encode(WHOLE)
    columns = {"audio": [data, data], "begin": [0.25, 1.0], "end": [0.75, None], "label": ["a", "b"]}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "table.parquet")
    parts = source(tmp_path / "table.parquet")
    assert torch.equal(parts.read(0)[0][0], torch.from_numpy(WHOLE[RATE // 4 : 3 * RATE // 4]))
    assert torch.equal(parts.read(1)[0][0], torch.from_numpy(WHOLE[RATE:]))
    assert parts.name(0).endswith(" from 0.25 to 0.75 s")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("long.wav,x,1,a", r"line 2 has 'x' in the column 'begin', which is no number of seconds"),
        ("long.wav,0,nan,a", r"line 2 has 'nan' in the column 'end', which is no number of seconds"),
        ("long.wav,0,inf,a", r"line 2 has 'inf' in the column 'end'"),
        ("long.wav,1,1,a", r"line 2: the part from 1 to 1\.0 s is none"),
        ("long.wav,-1,1,a", r"line 2: the part from -1 to 1\.0 s is none"),
    ],
)
def test_a_cell_that_is_no_time_is_told(tmp_path: Path, row: str, message: str) -> None:
    write(tmp_path / "long.wav", WHOLE)
    (tmp_path / "table.csv").write_text(f"file,begin,end,label\n{row}\nlong.wav,0,1,b\n")
    with pytest.raises(UserError, match=message):
        source(tmp_path / "table.csv")


def test_an_empty_number_is_none(tmp_path: Path) -> None:
    """Parquet has NaN for it."""
    write(tmp_path / "long.wav", WHOLE)
    columns = {"file": ["long.wav"] * 2, "begin": [math.nan, 1.0], "end": [0.5, math.nan], "label": ["a", "b"]}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "table.parquet")
    parts = source(tmp_path / "table.parquet")
    assert [parts.read(index)[0].shape[1] for index in range(2)] == [RATE // 2, RATE]


def test_parts_of_pictures_and_missing_columns_are_told(table: Path) -> None:
    with pytest.raises(UserError, match="segment names a part of a file in seconds, and these are images: leave it"):
        source(table, medium=None, image="file", label="label")
    with pytest.raises(UserError, match="no column 'ennd'; did you mean 'end'"):
        source(table, segment=Segment("begin", "ennd"))
