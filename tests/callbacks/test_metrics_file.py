"""A metrics file that was interrupted anywhere ends up byte-equal to one that was not."""

import math
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.analysis.metrics import read_metrics
from triptych.callbacks.metrics_file import MetricsFile

EVENTS = [
    (step, metrics)
    for step in range(1, 6)
    for metrics in (
        {"epoch": step / 4, "train/loss": 1 / 3 * step, "lr": 1e-4},
        *([{"epoch": step / 4, "val/loss": 0.1 * step}] if step % 2 == 0 else []),
        *([{"epoch": step / 4, 'late, "name"': step}] if step == 5 else []),
    )
]


def write(path: Path, after: int = 0) -> bytes:
    file = MetricsFile(path)
    file.cut(after)
    for step, metrics in EVENTS:
        if step > after:
            file.record(step, metrics)
    file.close()
    return path.read_bytes()


def test_resuming_from_any_step_and_any_torn_end_gives_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    whole = write(path)
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = [row["step"] for row in read_metrics(path).rows]
        # The checkpoint is of the last whole row or of one before it.
        path.write_bytes(whole[:length])
        assert write(path, after=int(kept[-1 - length % 2]) if len(kept) > 1 else 0) == whole


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(), min_size=1, max_size=5), st.integers(-(2**53), 2**53))
def test_numbers_come_back_bit_equal(tmp_path_factory: pytest.TempPathFactory, values: list[float], whole: int) -> None:
    path = tmp_path_factory.mktemp("metrics") / "metrics.csv"
    file = MetricsFile(path)
    for step, value in enumerate(values):
        file.record(step, {"loss": value, "count": whole})
    file.close()
    read = read_metrics(path)
    for wrote, got in zip(values, read.series("loss")[1], strict=True):
        assert math.isnan(wrote) == math.isnan(got)
        assert math.isnan(wrote) or struct.pack("d", wrote) == struct.pack("d", got)
    assert {row["count"] for row in read.rows} == {whole}


def test_a_row_may_be_filled_up_shrunk_and_written_again(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.csv")
    file.record(1, {"a": 0.123456789, "b": 1.5})
    file.record(2, {"a": 0.123456789})
    file.record(2, {"b": 2.5})
    file.record(2, {"a": 0.5})
    assert (tmp_path / "metrics.csv").read_text() == "step,epoch,a,b\n1,,0.123456789,1.5\n2,,0.5,2.5\n"
    file.close()


def test_a_step_before_the_last_and_a_broken_name_are_refused(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.csv")
    file.record(5, {"a": 1.0})
    with pytest.raises(ValueError, match="ends with step 5; step 4"):
        file.record(4, {"a": 1.0})
    with pytest.raises(ValueError, match="line break"):
        file.record(6, {"a\nb": 1.0})
    assert len(read_metrics(tmp_path / "metrics.csv").rows) == 1
    file.close()
