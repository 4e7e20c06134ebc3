"""A CSV of metrics that a kill at any moment leaves whole."""

import csv
import errno
import io
import logging
import os
from pathlib import Path

from triptych.analysis.metrics import STEP, Number, Row, columns_of, parse_metrics, read_metrics
from triptych.rundir.files import write_atomic

log = logging.getLogger(__name__)


class MetricsFile:
    """A CSV with one row for each step, which only ever grows by whole lines.

    The row of the present step may be written again when more of its metrics come (validation after training): one
    write at its place, so a kill cannot lose what was there. A new column rewrites the file atomically.

    Args:
        path: the file; its rows are kept if it exists, and a torn last line is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        data = path.read_bytes() if path.exists() else b""
        rows, whole = parse_metrics(data)
        if whole < len(data):
            log.warning("%s: its last %d bytes are no whole row and were cut off.", path, len(data) - whole)
        self._descriptor = -1
        self._replace(rows)

    def record(self, step: int, metrics: dict[str, Number]) -> None:
        """Add metrics to the row of `step`, the present one or a later one.

        Raises:
            ValueError: the step lies before the last row, or a name holds a line break.
            OSError: the disk is full or gone; the rows written before are whole.
        """
        last = self._last
        if last is not None and step < last[STEP]:
            raise ValueError(f"{self.path} ends with step {last[STEP]}; step {step} cannot follow it.")
        again = last is not None and last[STEP] == step
        row: Row = {**last, **metrics} if again and last is not None else {STEP: step, **metrics}
        if row.keys() <= self._known:
            self._write_last(row, again)
            return
        if any("\n" in name or "\r" in name for name in metrics):
            raise ValueError(f"A metric's name holds a line break: {list(metrics)}.")
        rows = read_metrics(self.path).rows
        self._replace([*rows[: len(rows) - again], row])

    def cut(self, step: int) -> None:
        """Drop the rows after `step` and columns that only they had: the file is as it was when `step` was the last."""
        if self._last is not None and self._last[STEP] > step:
            self._replace([row for row in read_metrics(self.path).rows if row[STEP] <= step])

    def sync(self) -> None:
        """Wait until all rows are on the disk, safe from a power cut."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; it can be used no more."""
        os.close(self._descriptor)
        self._descriptor = -1

    def _write_last(self, row: Row, again: bool) -> None:
        line = _line(self._columns, row).encode()
        if again and line == self._last_line:
            return
        offset = self._size - len(self._last_line) if again else self._size
        # One system call: a kill comes before it or after it, not between.
        if os.pwrite(self._descriptor, line, offset) < len(line):
            os.ftruncate(self._descriptor, self._size)
            os.pwrite(self._descriptor, self._last_line, self._size - len(self._last_line))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        if offset + len(line) < self._size:
            os.ftruncate(self._descriptor, offset + len(line))
        self._last, self._last_line, self._size = row, line, offset + len(line)

    def _replace(self, rows: list[Row]) -> None:
        self._columns = columns_of(rows)
        self._known = set(self._columns)
        lines = [_header(self._columns), *(_line(self._columns, row) for row in rows)]
        data = "".join(lines).encode()
        write_atomic(self.path, data)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = os.open(self.path, os.O_RDWR)
        self._size = len(data)
        self._last = rows[-1] if rows else None
        self._last_line = lines[-1].encode() if rows else b""


def _header(columns: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(columns)
    return text.getvalue()


def _line(columns: list[str], row: Row) -> str:
    return ",".join(_cell(row[name]) if name in row else "" for name in columns) + "\n"


def _cell(value: Number) -> str:
    # repr of a float is the shortest text that reads back to the same bits. bool counts as a whole number.
    return str(int(value)) if isinstance(value, int) else repr(float(value))
