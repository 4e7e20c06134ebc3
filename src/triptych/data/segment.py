"""Parts of sound files that a table names by their start and end."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from triptych.data.labels import is_empty
from triptych.data.medium import Medium
from triptych.data.sound import Sounds
from triptych.data.table import Table
from triptych.errors import UserError


@dataclass(frozen=True)
class Segment:
    """Columns with the start and the end, in seconds, of the part of a file that a row means.

    Attributes:
        start: column of the start; None: all parts start at 0.
        end: column of the end; None: all parts go to the end of their file. So does one with an empty cell.
    """

    start: str | None = None
    end: str | None = None

    def __bool__(self) -> bool:
        return bool(self.columns)

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that are named."""
        return tuple(name for name in (self.start, self.end) if name is not None)

    def read(self, table: Table, rows: np.ndarray, medium: Medium) -> list[tuple[float, float | None]]:
        """Start and end of each of `rows`.

        Raises:
            UserError: a cell that is no number, or an end that is not behind its start; files that are no sounds.
        """
        if not isinstance(medium, Sounds):
            raise UserError(f"segment names a part of a file in seconds, and these are {medium.many}: leave it out")
        starts, ends = ([None] * len(table) if name is None else table.column(name) for name in (self.start, self.end))
        found = []
        for row in rows.tolist():
            start = _seconds(starts[row], self.start, table.where(row))
            end = _seconds(ends[row], self.end, table.where(row))
            if (start or 0.0) < 0 or (end is not None and end <= (start or 0.0)):
                raise UserError(f"{table.where(row)}: the part from {start or 0:g} to {end} s is none")
            found.append((start or 0.0, end))
        return found


def _seconds(cell: Any, column: str | None, where: str) -> float | None:
    if column is None or is_empty(cell):
        return None
    try:
        seconds = float(cell)
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise UserError(f"{where} has {cell!r} in the column {column!r}, which is no number of seconds")
    return seconds
