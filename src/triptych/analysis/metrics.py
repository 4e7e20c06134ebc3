"""Reading `metrics.csv`: one row for each logged step, one column for each metric."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

Number = int | float
Row = dict[str, Number]

STEP = "step"
EPOCH = "epoch"


@dataclass(frozen=True)
class MetricsTable:
    """The rows of a `metrics.csv`, in order of steps.

    `rows[i]["step"]` counts optimizer steps done; a metric that was not logged at a step is not in that row.
    """

    rows: list[Row]

    @property
    def columns(self) -> list[str]:
        """Names of all columns, step and epoch first, then in order of first appearance."""
        return columns_of(self.rows)

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one metric where it was logged; empty lists for a metric that never was."""
        logged = [row for row in self.rows if name in row]
        return [int(row[STEP]) for row in logged], [float(row[name]) for row in logged]

    def last(self, name: str) -> float | None:
        """The last finite value of a metric, None if there is none."""
        finite = [value for value in self.series(name)[1] if math.isfinite(value)]
        return finite[-1] if finite else None


def read_metrics(path: Path | str) -> MetricsTable:
    """Read a `metrics.csv`, up to the first line that is not whole: a kill may tear the last one.

    A file that does not exist, or is empty, gives a table without rows. Numbers come back bit-equal to those logged.

    Raises:
        OSError: the file cannot be read.
    """
    return MetricsTable(parse_metrics(_read(Path(path)))[0])


def parse_metrics(data: bytes) -> tuple[list[Row], int]:
    """Parse the bytes of a `metrics.csv`: the rows, and how many bytes of it are whole lines in good order."""
    header_end = data.find(b"\n") + 1
    if header_end == 0:
        return [], 0
    columns = next(csv.reader([data[:header_end].decode(errors="replace")]), [])
    if columns[:2] != [STEP, EPOCH] or len(set(columns)) != len(columns):
        return [], 0
    rows: list[Row] = []
    whole = header_end
    while (end := data.find(b"\n", whole) + 1) > 0:
        row = _parse_row(columns, data[whole : end - 1].decode(errors="replace"))
        if row is None or (rows and row[STEP] <= rows[-1][STEP]):
            break
        rows.append(row)
        whole = end
    return rows, whole


def columns_of(rows: list[Row]) -> list[str]:
    """The columns that hold these rows: step, epoch, then metrics in order of first appearance."""
    return list(dict.fromkeys([STEP, EPOCH, *(name for row in rows for name in row)]))


def _parse_row(columns: list[str], line: str) -> Row | None:
    cells = line.split(",")
    if len(cells) != len(columns):
        return None
    try:
        row = {name: _number(cell) for name, cell in zip(columns, cells, strict=True) if cell}
    except ValueError:
        return None
    return row if isinstance(row.get(STEP), int) else None


def _number(cell: str) -> Number:
    # A whole number was logged as one (an epoch, a count); a float always carries a point, an exponent or letters.
    digits = cell[1:] if cell.startswith("-") else cell
    if digits.isascii() and digits.isdigit():
        return int(cell)
    return float(cell)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
