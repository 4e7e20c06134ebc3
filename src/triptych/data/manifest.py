"""A manifest: a table (CSV, TSV, Parquet) with a row a sample, that says where its file lies and what it shows."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from triptych.data import columns, labels
from triptych.data.cells import cell_bytes, cell_path, require_files
from triptych.data.files import require_file, require_folder
from triptych.data.folds import FOLD, Folds, fold_names
from triptych.data.medium import Medium, Pictures
from triptych.data.segment import Segment
from triptych.data.sound import Sounds
from triptych.data.source import Label
from triptych.data.split import check_split
from triptych.data.table import read_table
from triptych.data.table_labels import LabelReader, rows_of_split
from triptych.errors import UserError

log = logging.getLogger("triptych.data")

LOOKED_AT = 100
"""Rows that are looked at before training, so that a wrong folder is told at once and not image by image."""


class ManifestSource:
    """Images or sounds and labels that a table names.

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
        medium: what the files hold; None: pictures.
        folds: cross-validation, in place of splits.
        segment: columns that say which part of a sound is meant.

    Raises:
        UserError: no such file, column, split or fold; labels that are none; no file where the paths say.
    """

    folds: Sequence[str] = ()
    """The folds that occur, where one is held out."""

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
        medium: Medium | None = None,
        folds: Folds | None = None,
        segment: Segment | None = None,
    ) -> None:
        check_split(split, validation_fraction)
        if label_columns and (label or label_separator or classes):
            raise UserError(
                "label_columns names a column for each class, which leaves nothing for label, label_separator and "
                "classes to say: give one or the other"
            )
        self.medium = medium or Pictures(channels)
        folder = require_folder(root, f"{self.medium.one} folder") if root is not None else None
        path = find_manifest(file, folder)
        table = read_table(path)
        self._folder = folder or path.parent
        apart = other_file is not None and find_manifest(other_file, folder).resolve() != path.resolve()
        if folds:
            split_column = folds.column or FOLD
            splits = folds.splits(table.column(split_column), table.where)
            self.folds = fold_names(table.column(split_column))
        else:
            if split_column is None and not apart:
                split_column = columns.split_column(table.names, table.column)
            cells = None if split_column is None else table.column(split_column)
            splits = (
                None
                if split_column is None or cells is None
                else columns.splits(cells, f"the column {split_column!r}", table.where)
            )
        title = str(path)
        guessed = image is None or (label is None and not label_columns)
        if image is None:
            image = columns.image_column(title, table.names, lambda name: first_cells(table.column(name)), self.medium)
        images = table.column(image)
        if label is None and not label_columns:
            other = (image, split_column, *(segment.columns if segment else ()))
            label = columns.label_column(title, [name for name in table.names if name not in other])
        if guessed and split == "train":
            labelled = repr(label) if label else ", ".join(label_columns)
            log.info(
                "%s: %s from the column %r, labels from %s (data.train.image, .label)",
                path, self.medium.many, image, labelled,
            )  # fmt: skip
        reader = LabelReader(table, label, label_separator, label_columns, classes)
        rows, self._labels = rows_of_split(reader, splits, split, apart, validation_fraction)
        self._images = [images[row] for row in rows]
        self._where = [table.where(int(row)) for row in rows]
        self.classes = self._labels.classes
        self.multilabel = self._labels.multilabel
        self._segments = segment.read(table, rows, self.medium) if segment else None
        require_files(self._images[:LOOKED_AT], self._folder, self._where[0], image, root, self.medium)

    def __len__(self) -> int:
        return len(self._images)

    def name(self, index: int) -> str:
        """Path of the file, and the part of it that is meant; or the table and the row where the image lies in it."""
        place = cell_path(self._images[index], self._folder) or self._where[index]
        if self._segments is None:
            return str(place)
        start, end = self._segments[index]
        return f"{place} from {start:g}" + (f" to {end:g} s" if end is not None else " s")

    def read(self, index: int) -> tuple[Tensor, Label]:
        """Decoded image, uint8 `(channels, height, width)`, or waveform `(1, samples)`, and label of sample `index`.

        Raises:
            BadSample: the file cannot be read or decoded.
        """
        if self._segments is not None and isinstance(self.medium, Sounds):
            file = cell_path(self._images[index], self._folder) or self.encoded(index)
            return self.medium.segment(file, *self._segments[index]), self.target(index)
        return self.medium.decode(self.encoded(index)), self.target(index)

    def encoded(self, index: int) -> bytes:
        """Bytes of the file of sample `index`; BadSample where it cannot be opened."""
        return cell_bytes(self._images[index], self._folder)

    def target(self, index: int) -> Label:
        """Label of sample `index`."""
        return self._labels.target(index)


def find_manifest(file: str, folder: Path | None) -> Path:
    """A manifest by its path from the current folder, or else from the folder of the images."""
    path = Path(file).expanduser()
    if folder is not None and not path.exists() and (folder / path).is_file():
        return folder / path
    return require_file(path, "manifest")


def first_cells(cells: list[Any]) -> list[Any]:
    """Of the first cells of a column those that say something."""
    return [cell for cell in cells[:LOOKED_AT] if not labels.is_empty(cell)]
