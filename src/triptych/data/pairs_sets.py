"""Pictures with captions in the format of the library `datasets`."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triptych.data import columns
from triptych.data.captions import Caption, Fields
from triptych.data.cells import cell_bytes
from triptych.data.files import require_folder
from triptych.data.huggingface_load import load_set
from triptych.data.huggingface_sets import image_column, own_split, splits_of, undecoded
from triptych.data.medium import Medium, Pictures
from triptych.data.pair_source import LOOKED_AT, check_captions, concepts, part_of_split
from triptych.data.split import check_split
from triptych.errors import UserError


class DatasetPairs:
    """Pictures and captions of a data set of the library `datasets`.

    A column of captions holds one text, or a list of them. Splits are found by their names; where there is none for
    validation, a fixed part is held back for it, the same in every run.

    Args:
        caption: makes captions of the columns.
        root: folder that `save_to_disk` wrote, or one of Parquet files or of images as `load_dataset` takes it.
            Nothing is fetched for it.
        hub: name of a set on the hub, in place of `root`; it is fetched where it is not in the library's cache.
        subset: configuration of the set, where it has several.
        image: column of the images. None: the only one with the feature Image.
        concept: column that names what a picture shows; None: every sample is a concept of its own.
        split: `train`, `validation` or `test`.
        validation_fraction: part to hold back where there is no split for validation.
        channels: 3 for RGB, 1 for grey.
        medium: what the files hold; None: pictures.

    Raises:
        UserError: no such set, split or column; no caption; `datasets` is not installed.
    """

    multilabel = False
    places = None
    shards_at_once = 1

    def __init__(
        self,
        caption: Caption,
        root: str | None = None,
        hub: str | None = None,
        subset: str | None = None,
        image: str | None = None,
        concept: str | None = None,
        split: str = "train",
        validation_fraction: float | int = 0.1,
        channels: int = 3,
        medium: Medium | None = None,
    ) -> None:
        self.medium = medium or Pictures(channels)
        check_split(split, validation_fraction)
        if (root is None) == (hub is None):
            given = f"data.root={root} and data.train.hub={hub} are both set" if root else "no data set is named"
            raise UserError(f"{given}: give data.root=FOLDER or data.train.hub=NAME (fetched from the hub)")
        self._root = require_folder(root, "data set folder") if root is not None else None
        self._title = str(self._root or hub)
        parts = splits_of(load_set(self._root, hub, subset), self._title)
        self._own, made = own_split(parts, split, self._title)
        samples = parts[self._own]
        self._image = image or image_column(samples, self._title, self.medium)
        for name in (self._image, *caption.fields, *([concept] if concept is not None else [])):
            columns.require(self._title, name, samples.column_names)
        named = None if concept is None else _names(samples, concept)
        rows = np.arange(len(samples))
        if made:
            groups = named or [str(row) for row in rows]
            rows = part_of_split(self._title, None, split, False, validation_fraction, groups)
        self._rows = rows
        self._captioned = samples.select_columns(list(caption.fields))
        self._samples = undecoded(samples.select_columns([self._image]), self._image, self.medium)
        self.caption = caption
        self.classes, self.ids = concepts(None if named is None else [named[row] for row in rows], len(rows))
        check_captions(self._title, caption, [self._fields(index) for index in range(min(len(self), LOOKED_AT))])

    def __len__(self) -> int:
        return len(self._rows)

    def name(self, index: int) -> str:
        """Title, split and row, and the file's own name where it is known."""
        row = int(self._rows[index])
        cell = self._cell(index)
        path = cell.get("path") if isinstance(cell, dict) else cell if isinstance(cell, str) else None
        return f"{self._title}/{self._own}[{row}]" + (f" ({path})" if path else "")

    def read(self, index: int) -> tuple[Tensor, int]:
        """Decoded image, uint8 `(channels, height, width)`, or waveform `(1, samples)`, and concept of sample
        `index`.

        Raises:
            BadSample: the image cannot be read or decoded.
        """
        return self.medium.decode(self.encoded(index)), int(self.ids[index])

    def encoded(self, index: int) -> bytes:
        """Bytes of the image file of sample `index`; BadSample where there are none."""
        return cell_bytes(self._cell(index), self._root or Path())

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
        return self._captioned[int(self._rows[index])]

    def _cell(self, index: int) -> Any:
        return self._samples[int(self._rows[index])][self._image]


def _names(samples: Any, column: str) -> list[Any]:
    """Cells of a column, with the names of classes in place of their numbers."""
    names = getattr(samples.features[column], "names", None)
    cells = samples.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()
    if names is None:
        return cells
    return [None if cell is None or cell < 0 else names[cell] for cell in cells]
