"""Data sets of the library `datasets`: a folder on this machine, or a set of the hub that the user names."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from triptych.data import columns, labels
from triptych.data.cells import cell_bytes
from triptych.data.files import require_folder
from triptych.data.huggingface_load import load_set
from triptych.data.labels import Labels
from triptych.data.medium import Medium, Pictures
from triptych.data.source import Label
from triptych.data.split import SPLIT_NAMES, check_split, split_of, stratified
from triptych.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger("triptych.data")


class DatasetSource:
    """Images and labels of a data set in the format of the library `datasets`.

    The column of images is the one with the feature Image, that of labels the one with ClassLabel (or a list of it,
    for several labels a sample), whose names are the class names. Splits are found by their names; where there is none
    for validation, a fixed part of each class is held back for it: the same part in every run, and the log says so.
    Images are decoded here and not by the library, so that one that cannot be read is skipped and counted.

    Args:
        root: folder that `save_to_disk` wrote, or one of Parquet files or of images as `load_dataset` takes it.
            Nothing is fetched for it.
        hub: name of a set on the hub, in place of `root`; it is fetched where it is not in the library's cache.
        subset: configuration of the set, where it has several.
        image: column of the images. None: the only one with the feature Image.
        label: column of the labels. None: the only one with the feature ClassLabel, else by its name.
        split: `train`, `validation` or `test`.
        validation_fraction: part of each class to hold back where there is no split for validation.
        classes: class names, where they are not those of the feature or of the training samples.
        channels: 3 for RGB, 1 for grey.
        medium: what the files hold; None: pictures.

    Raises:
        UserError: no such set, split or column; a sample without a label; `datasets` is not installed.
    """

    def __init__(
        self,
        root: str | None = None,
        hub: str | None = None,
        subset: str | None = None,
        image: str | None = None,
        label: str | None = None,
        split: str = "train",
        validation_fraction: float | int = 0.1,
        classes: Sequence[str] | None = None,
        channels: int = 3,
        medium: Medium | None = None,
    ) -> None:
        check_split(split, validation_fraction)
        if (root is None) == (hub is None):
            given = f"data.root={root} and data.train.hub={hub} are both set" if root else "no data set is named"
            raise UserError(f"{given}: give data.root=FOLDER or data.train.hub=NAME (fetched from the hub)")
        self.medium = medium or Pictures(channels)
        self._root = require_folder(root, "data set folder") if root is not None else None
        self._title = str(self._root or hub)
        parts = splits_of(load_set(self._root, hub, subset), self._title)
        own, made = own_split(parts, split, self._title)
        self._image = image or image_column(parts[own], self._title, self.medium)
        self._label = label or _label_column(parts[own], self._image, self._title)
        if split == "train" and (image is None or label is None):
            log.info(
                "%s: %s from the column %r, labels from %r (data.train.image, .label)",
                self._title,
                self.medium.many,
                self._image,
                self._label,
            )
        for name in (self._image, self._label):
            columns.require(self._title, name, parts[own].column_names)
        training = parts.get("train", parts[own])
        self._labels = self._read_labels(parts[own], training, own, classes)
        self._rows: np.ndarray = np.arange(len(parts[own]))
        if made:
            held = stratified(self._labels.groups(), validation_fraction) == (split == "validation")
            self._rows, self._labels = self._rows[held], self._labels.take(held)
            share = validation_fraction if split == "validation" else 1 - validation_fraction
            log.info(
                "%s has no split for validation: %d samples (%g of each class, always the same ones) are the %s split",
                self._title, len(self._rows), share, split,
            )  # fmt: skip
        if not len(self._rows):
            raise UserError(f"{self._title} has no samples for the split {split!r}")
        self.classes = self._labels.classes
        self.multilabel = self._labels.multilabel
        self._own = own
        self._samples = undecoded(parts[own].select_columns([self._image]), self._image, self.medium)

    def __len__(self) -> int:
        return len(self._rows)

    def name(self, index: int) -> str:
        """Title, split and row, and the file's own name where it is known."""
        row = int(self._rows[index])
        cell = self._cell(index)
        path = cell.get("path") if isinstance(cell, dict) else cell if isinstance(cell, str) else None
        return f"{self._title}/{self._own}[{row}]" + (f" ({path})" if path else "")

    def read(self, index: int) -> tuple[Tensor, Label]:
        """Decoded image, uint8 `(channels, height, width)`, or waveform `(1, samples)`, and label of sample `index`.

        Raises:
            BadSample: the image cannot be read or decoded.
        """
        return self.medium.decode(self.encoded(index)), self.target(index)

    def encoded(self, index: int) -> bytes:
        """Bytes of the image file of sample `index`; BadSample where there are none."""
        return cell_bytes(self._cell(index), self._root or Path())

    def target(self, index: int) -> Label:
        """Label of sample `index`."""
        return self._labels.target(index)

    def _cell(self, index: int) -> Any:
        return self._samples[int(self._rows[index])][self._image]

    def _read_labels(self, samples: "Dataset", training: "Dataset", own: str, classes: Sequence[str] | None) -> Labels:
        feature: Any = samples.features[self._label]
        inner: Any = getattr(feature, "feature", feature)  # of a list, what it is a list of
        make = labels.several if inner is not feature else labels.single
        names = getattr(inner, "names", None)
        told = f"the column {self._label!r}"

        def where(row: int) -> str:
            return f"{self._title}/{own}[{row}]"

        values = _values(samples, self._label, names)
        if classes is None and names is None and training is not samples:
            classes = make(_values(training, self._label, names), told, where).classes
        return make(values, told, where, classes if classes is not None else names)


def splits_of(loaded: Any, title: str) -> "dict[str, Dataset]":
    """The splits that have a name of one; a set without splits is for training."""
    if not isinstance(loaded, dict):
        split = split_of(str(loaded.split)) if loaded.split is not None else None
        return {split or "train": loaded}
    if len(loaded) == 1:
        return {split_of(name) or "train": samples for name, samples in loaded.items()}
    found: dict[str, Any] = {}
    for name, samples in loaded.items():
        if (split := split_of(name)) is not None:
            if split in found:
                raise UserError(f"{title} has two splits for {split}, one of them {name!r}: leave one of them out")
            found[split] = samples
    if not found:
        known = ", ".join(name for names in SPLIT_NAMES.values() for name in names)
        raise UserError(f"{title} has the splits {', '.join(loaded)}, none of which has a known name ({known})")
    return found


def own_split(parts: "dict[str, Dataset]", split: str, title: str) -> tuple[str, bool]:
    """The split to read, and whether a validation part has to be made of it."""
    made = "validation" not in parts and split in ("train", "validation")
    own = "train" if made else split
    if own not in parts:
        raise UserError(f"{title} has no split {own!r}: it has {', '.join(parts)}")
    return own, made


def image_column(samples: "Dataset", title: str, medium: Medium | None = None) -> str:
    """The only column with the feature of the medium, which is Image if nothing else is said."""
    medium = medium or Pictures()
    found = [name for name, feature in samples.features.items() if isinstance(feature, _feature(medium))]
    return columns.only(title, found, samples.column_names, medium.many, "data.train.image")


def _feature(medium: Medium) -> Any:
    import datasets

    return getattr(datasets, medium.feature)


def _label_column(samples: "Dataset", image: str, title: str) -> str:
    from datasets import ClassLabel

    def classes(feature: Any) -> bool:
        return isinstance(getattr(feature, "feature", feature), ClassLabel)

    found = [name for name, feature in samples.features.items() if classes(feature)]
    if found:
        return columns.only(title, found, samples.column_names, "labels", "data.train.label")
    return columns.label_column(title, [name for name in samples.column_names if name != image])


def undecoded(samples: "Dataset", column: str, medium: Medium | None = None) -> "Dataset":
    """The same samples, their images or sounds as files."""
    feature = _feature(medium or Pictures())
    if isinstance(samples.features[column], feature):
        return samples.cast_column(column, feature(decode=False))
    return samples


def _values(samples: "Dataset", column: str, names: list[str] | None) -> list[Any]:
    """Cells of a column, with the names of classes in place of their numbers; -1 is how a missing label is written."""
    table: Any = samples.select_columns([column]).with_format("arrow")[:]
    cells = table.column(column).to_pylist()

    def named(cell: Any) -> Any:
        if isinstance(cell, list):
            return [named(each) for each in cell]
        return None if cell is None or cell == -1 else names[cell] if names is not None else cell

    return cells if names is None else [named(cell) if cell is not None else None for cell in cells]
