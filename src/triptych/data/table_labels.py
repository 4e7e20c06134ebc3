"""Labels of the rows of a table, and which rows a split has."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from triptych.data import labels
from triptych.data.labels import Labels
from triptych.data.split import SPLIT_NAMES, stratified
from triptych.data.table import Table
from triptych.errors import UserError

log = logging.getLogger("triptych.data")


class LabelReader:
    """Labels of chosen rows of a table, by one column, by one column of lists, or by a column for each class."""

    def __init__(
        self,
        table: Table,
        label: str | None,
        separator: str | None,
        label_columns: Sequence[str],
        classes: Sequence[str] | None,
    ) -> None:
        self.table = table
        self._columns = {name: table.column(name) for name in label_columns}
        self._label = label or ""
        self._cells: list[Any] = table.column(label) if label is not None else []
        self._several = bool(self._cells) and (separator is not None or isinstance(self._cells[0], list))
        if self._several:
            self._cells = [_divided(cell, separator) for cell in self._cells]
        self._classes = classes

    def read(self, rows: np.ndarray, training: np.ndarray) -> Labels:
        """Labels of `rows`, whose classes are those that occur in the rows `training`."""
        classes = self._classes
        if classes is None and not self._columns and training is not rows:
            classes = self._of(training, None).classes
        return self._of(rows, classes)

    def _of(self, rows: np.ndarray, classes: Sequence[str] | None) -> Labels:
        def where(place: int) -> str:
            return self.table.where(int(rows[place]))

        if self._columns:
            return labels.from_columns({name: _at(cells, rows) for name, cells in self._columns.items()}, where)
        make = labels.several if self._several else labels.single
        return make(_at(self._cells, rows), f"the column {self._label!r}", where, classes)


def rows_of_split(
    reader: LabelReader, splits: list[str | None] | None, split: str, apart: bool, fraction: float | int
) -> tuple[np.ndarray, Labels]:
    """The rows of a split, and their labels."""
    table = reader.table
    every = np.arange(len(table))
    named = {name: every[[each == name for each in splits]] for name in SPLIT_NAMES} if splits is not None else {}
    training = named.get("train", every)
    if apart and splits is None:
        return every, reader.read(every, every)
    if len(named.get(split, ())) and (split == "test" or len(named["validation"])):
        rows = named[split]
        return rows, reader.read(rows, rows if split == "train" or not len(training) else training)
    if split == "test" or not len(training):
        has = {name: len(rows) for name, rows in named.items() if len(rows)}
        rest = f"its column of splits names {has}" if splits is not None else "it has no column of splits"
        raise UserError(f"{table.path} has no rows for the split {split!r}: {rest}")
    made = reader.read(training, training)
    held = stratified(made.groups(), fraction) == (split == "validation")
    log.info(
        "%s names no rows for validation: %d rows (%g of each class, always the same ones) are the %s split",
        table.path,
        held.sum(),
        fraction if split == "validation" else 1 - fraction,
        split,
    )
    if not held.any():
        raise UserError(f"{table.path} has too few rows ({len(training)}) to hold some back for validation")
    return training[held], made.take(held)


def _at(cells: list[Any], rows: np.ndarray) -> list[Any]:
    return [cells[row] for row in rows]


def _divided(cell: Any, separator: str | None) -> list[Any]:
    if isinstance(cell, list):
        return cell
    return [] if labels.is_empty(cell) else str(cell).split(separator)
