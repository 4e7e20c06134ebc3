"""A manifest: a table (CSV, TSV, Parquet) with a row a sample, that says where its image lies and what it shows."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from triptych.data import columns, labels
from triptych.data.cells import cell_bytes, cell_path, require_images
from triptych.data.decode import decode_image
from triptych.data.files import require_file, require_folder
from triptych.data.labels import Labels
from triptych.data.source import Label
from triptych.data.split import SPLIT_NAMES, check_split, stratified
from triptych.data.table import Table, read_table
from triptych.errors import UserError

log = logging.getLogger("triptych.data")

LOOKED_AT = 100
"""Rows that are looked at before training, so that a wrong folder is told at once and not image by image."""


class ManifestSource:
    """Images and labels that a table names.

    Where the table has a column that names splits (`train`, `val` and so on), each row belongs to its split. Otherwise,
    and where no other file holds the other split, a fixed part of each class is held back for validation: the same
    part in every run, and the log says so.

    Args:
        file: the table; a relative path starts from the current folder, or else from `root`.
        root: folder that relative paths of images start from; None: the folder of the table.
        image: column of the images: paths, or the files themselves (Parquet). None: the only one that can be.
        label: column of the labels. None: by its name, or the only one left.
        label_separator: divides the classes of one cell, such as `|`; a sample then has several labels.
        label_columns: a column of 0 and 1 for each class, in place of `label`; a sample then has several labels.
        split: `train`, `validation` or `test`.
        split_column: column that names the split of a row. None: one that is named `split` or the like.
        other_file: the table of the other split; where that is another file, every row of this one is read.
        validation_fraction: part of each class to hold back where nothing says what is for validation.
        classes: class names, where they are not those of the training rows.
        channels: 3 for RGB, 1 for grey.

    Raises:
        UserError: no such file, column or split; labels that are none; no image where the paths say.
    """

    def __init__(
        self,
        file: str,
        root: str | None = None,
        image: str | None = None,
        label: str | None = None,
        label_separator: str | None = None,
        label_columns: Sequence[str] = (),
        split: str = "train",
        split_column: str | None = None,
        other_file: str | None = None,
        validation_fraction: float | int = 0.1,
        classes: Sequence[str] | None = None,
        channels: int = 3,
    ) -> None:
        check_split(split, validation_fraction)
        if label_columns and (label or label_separator or classes):
            raise UserError(
                "label_columns names a column for each class, which leaves nothing for label, label_separator and "
                "classes to say: give one or the other"
            )
        folder = require_folder(root, "image folder") if root is not None else None
        path = find_manifest(file, folder)
        table = read_table(path)
        self.channels = channels
        self._folder = folder or path.parent
        apart = other_file is not None and find_manifest(other_file, folder).resolve() != path.resolve()
        if split_column is None and not apart:
            split_column = columns.split_column(table.names, table.column)
        cells = None if split_column is None else table.column(split_column)
        splits = None if split_column is None or cells is None else columns.splits(cells, split_column, table.where)
        title = str(path)
        guessed = image is None or (label is None and not label_columns)
        if image is None:
            image = columns.image_column(title, table.names, lambda name: first_cells(table.column(name)))
        images = table.column(image)
        if label is None and not label_columns:
            label = columns.label_column(title, [name for name in table.names if name not in (image, split_column)])
        if guessed and split == "train":
            labelled = repr(label) if label else ", ".join(label_columns)
            log.info("%s: images from the column %r, labels from %s (data.train.image, .label)", path, image, labelled)
        reader = _LabelReader(table, label, label_separator, label_columns, classes)
        rows, self._labels = _rows(reader, splits, split, apart, validation_fraction)
        self._images = [images[row] for row in rows]
        self._where = [table.where(int(row)) for row in rows]
        self.classes = self._labels.classes
        self.multilabel = self._labels.multilabel
        require_images(self._images[:LOOKED_AT], self._folder, self._where[0], image, root)

    def __len__(self) -> int:
        return len(self._images)

    def name(self, index: int) -> str:
        """Path of the image file, or the table and the row where the image lies in it."""
        path = cell_path(self._images[index], self._folder)
        return str(path) if path is not None else self._where[index]

    def read(self, index: int) -> tuple[Tensor, Label]:
        """Decoded image, uint8 `(channels, height, width)`, and label of sample `index`.

        Raises:
            BadSample: the image cannot be read or decoded.
        """
        return decode_image(self.encoded(index), self.channels), self.target(index)

    def encoded(self, index: int) -> bytes:
        """Bytes of the image file of sample `index`; BadSample where it cannot be opened."""
        return cell_bytes(self._images[index], self._folder)

    def target(self, index: int) -> Label:
        """Label of sample `index`."""
        return self._labels.target(index)


class _LabelReader:
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
        return make(_at(self._cells, rows), self._label, where, classes)


def _rows(
    reader: _LabelReader, splits: list[str | None] | None, split: str, apart: bool, fraction: float | int
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


def find_manifest(file: str, folder: Path | None) -> Path:
    """A manifest by its path from the current folder, or else from the folder of the images."""
    path = Path(file).expanduser()
    if folder is not None and not path.exists() and (folder / path).is_file():
        return folder / path
    return require_file(path, "manifest")


def first_cells(cells: list[Any]) -> list[Any]:
    """Of the first cells of a column those that say something."""
    return [cell for cell in cells[:LOOKED_AT] if not labels.is_empty(cell)]


def _at(cells: list[Any], rows: np.ndarray) -> list[Any]:
    return [cells[row] for row in rows]


def _divided(cell: Any, separator: str | None) -> list[Any]:
    if isinstance(cell, list):
        return cell
    return [] if labels.is_empty(cell) else str(cell).split(separator)
