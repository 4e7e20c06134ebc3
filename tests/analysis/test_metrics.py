"""Whatever is left of a metrics.csv, its whole rows are read."""

from pathlib import Path

from triptych.analysis.metrics import parse_metrics, read_metrics

TEXT = b"step,epoch,train/loss,val/loss\n1,0.5,2.5,\n2,1.0,nan,0.25\n3,1.5,-inf,\n"


def test_rows_have_what_was_logged(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(TEXT)
    table = read_metrics(tmp_path / "metrics.csv")
    assert table.columns == ["step", "epoch", "train/loss", "val/loss"]
    assert table.series("val/loss") == ([2], [0.25])
    assert table.series("train/loss")[0] == [1, 2, 3]
    assert table.last("train/loss") == 2.5
    assert table.last("none") is None
    assert read_metrics(tmp_path / "missing.csv").rows == []


def test_every_prefix_gives_its_whole_rows() -> None:
    whole = [end + 1 for end, byte in enumerate(TEXT) if byte == 10]
    for length in range(len(TEXT) + 1):
        rows, good = parse_metrics(TEXT[:length])
        assert good == max((end for end in whole if end <= length), default=0)
        assert len(rows) == max(0, sum(end <= length for end in whole) - 1)


def test_reading_stops_at_a_line_that_is_damaged() -> None:
    assert len(parse_metrics(TEXT.replace(b"2,1.0,nan,0.25", b"\0\0\0\0"))[0]) == 1
    assert len(parse_metrics(TEXT.replace(b"3,1.5", b"2,1.5"))[0]) == 2
    assert parse_metrics(b"a,b\n1,2\n") == ([], 0)
