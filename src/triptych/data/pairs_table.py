"""A table (CSV, TSV, Parquet) with a row a sample: where its picture lies and what is said of it."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triptych.data import columns
from triptych.data.captions import Caption, Fields
from triptych.data.cells import cell_bytes, cell_path, require_files
from triptych.data.files import require_folder
from triptych.data.manifest import LOOKED_AT, find_manifest, first_cells
from triptych.data.medium import Medium, Pictures
from triptych.data.pair_source import check_captions, concepts, part_of_split
from triptych.data.split import check_split
from triptych.data.table import read_table

log = logging.getLogger("triptych.data")


class TablePairs:
    """Pictures and captions that a table names.

    Several captions of a picture stand in several rows, in several columns, in one cell (`caption.separator`), or in
    lists (Parquet). Rows with the same path are one sample.
    Rows are told apart into splits as `ManifestSource` does it; what is held back for validation is the same in every
    run, and all rows of a concept lie on one side.

    Args:
        file: the table; a relative path starts from the current folder, or else from `root`.
        caption: makes captions of the columns.
        root: folder that relative paths of images start from; None: the folder of the table.
        image: column of the images: paths, or the files themselves (Parquet). None: the only one that can be.
        concept: column that names what a picture shows; rows with one name are positives of each other. None: every
            row is a concept of its own.
        split: `train`, `validation` or `test`.
        split_column: column that names the split of a row. None: one that is named `split` or the like.
        other_file: the table of the other split; where that is another file, every row of this one is read.
        validation_fraction: part to hold back where nothing says what is for validation.
        channels: 3 for RGB, 1 for grey.
        medium: what the files hold; None: pictures.

    Raises:
        UserError: no such file, column or split; no image where the paths say; no caption.
    """

    multilabel = False
    places = None
    shards_at_once = 1

    def __init__(
        self,
        file: str,
        caption: Caption,
        root: str | None = None,
        image: str | None = None,
        concept: str | None = None,
        split: str = "train",
        split_column: str | None = None,
        other_file: str | None = None,
        validation_fraction: float | int = 0.1,
        channels: int = 3,
        medium: Medium | None = None,
    ) -> None:
        self.medium = medium or Pictures(channels)
        check_split(split, validation_fraction)
        folder = require_folder(root, f"{self.medium.one} folder") if root is not None else None
        path = find_manifest(file, folder)
        table = read_table(path)
        title = str(path)
        for name in caption.fields:
            columns.require(title, name, table.names)
        if image is None:
            rest = [name for name in table.names if name not in caption.fields]
            image = columns.image_column(title, rest, lambda name: first_cells(table.column(name)), self.medium)
        images = table.column(image)
        named = None if concept is None else table.column(concept)
        apart = other_file is not None and find_manifest(other_file, folder).resolve() != path.resolve()
        if split_column is None and not apart:
            split_column = columns.split_column(table.names, table.column)
        splits = (
            None
            if split_column is None
            else columns.splits(table.column(split_column), f"the column {split_column!r}", table.where)
        )
        rows = part_of_split(title, splits, split, apart, validation_fraction, named or [str(cell) for cell in images])
        pictures = _pictures([images[row] for row in rows])
        first = [int(rows[places[0]]) for places in pictures]
        self._folder = folder or path.parent
        self._images = [images[row] for row in first]
        self._where = [table.where(row) for row in first]
        self._columns = {name: _merged(table.column(name), rows, pictures) for name in caption.fields}
        self.caption = caption
        self.classes, self.ids = concepts(None if named is None else [named[row] for row in first], len(first))
        require_files(self._images[:LOOKED_AT], self._folder, self._where[0], image, root, self.medium)
        check_captions(title, caption, [self._fields(index) for index in range(min(len(self), LOOKED_AT))])

    def __len__(self) -> int:
        return len(self._images)

    def name(self, index: int) -> str:
        """Path of the image file, or the table and the row where the image lies in it."""
        path: Path | None = cell_path(self._images[index], self._folder)
        return str(path) if path is not None else self._where[index]

    def read(self, index: int) -> tuple[Tensor, int]:
        """Decoded image, uint8 `(channels, height, width)`, or waveform `(1, samples)`, and concept of sample
        `index`.

        Raises:
            BadSample: the image cannot be read or decoded.
        """
        return self.medium.decode(self.encoded(index)), int(self.ids[index])

    def encoded(self, index: int) -> bytes:
        """Bytes of the image file of sample `index`; BadSample where it cannot be opened."""
        return cell_bytes(self._images[index], self._folder)

    def target(self, index: int) -> int:
        """Concept of sample `index`."""
        return int(self.ids[index])

    def draw_caption(self, index: int, generator: torch.Generator) -> str:
        """A caption of sample `index` for training."""
        return self.caption.draw(self._fields(index), generator)

    def captions(self, index: int) -> list[str]:
        """All captions of sample `index`."""
        return self.caption.all(self._fields(index))

    def corpus(self, index: int) -> list[str]:
        """Texts with every word that captions of sample `index` may have."""
        return self.caption.corpus(self._fields(index))

    def _fields(self, index: int) -> Fields:
        return {name: cells[index] for name, cells in self._columns.items()}


def _pictures(images: list[Any]) -> list[list[int]]:
    """The places of each picture's rows: those of one path belong together."""
    found: dict[Any, list[int]] = {}
    for place, cell in enumerate(images):
        key = cell.strip() if isinstance(cell, str) and cell.strip() else place
        found.setdefault(key, []).append(place)
    return list(found.values())


def _merged(cells: list[Any], rows: np.ndarray, pictures: list[list[int]]) -> list[Any]:
    """Cells of one column, one a picture; those of several rows become a list."""
    return [
        cells[rows[places[0]]] if len(places) == 1 else [cells[rows[place]] for place in places] for places in pictures
    ]
