"""Labels as people write them in tables (names, numbers, lists, columns of 0 and 1) to places in a list of classes."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from triptych.data.files import suggest
from triptych.data.source import Label
from triptych.errors import UserError

Where = Callable[[int], str]
"""Says where a row lies, such as `labels.csv, line 7`, for messages."""

_YES_NO = {"1": 1, "1.0": 1, "true": 1, "yes": 1, "0": 0, "0.0": 0, "false": 0, "no": 0, "": 0, "none": 0}
# Below this many rows a data set may well have a class for every second sample.
_FEWEST_TO_DOUBT = 20


@dataclass(frozen=True)
class Labels:
    """Labels of many samples.

    Attributes:
        classes: class names.
        targets: int64 `(samples,)` places in `classes`, or uint8 `(samples, classes)` of 0 and 1.
    """

    classes: list[str]
    targets: np.ndarray

    @property
    def multilabel(self) -> bool:
        """A sample may have several classes, or none."""
        return self.targets.ndim == 2

    def target(self, index: int) -> Label:
        """Label of one sample as a source gives it."""
        if self.multilabel:
            return torch.from_numpy(self.targets[index].astype(np.float32))
        return int(self.targets[index])

    def take(self, rows: np.ndarray) -> "Labels":
        """The same classes, and of the samples those in `rows`."""
        return Labels(self.classes, self.targets[rows])

    def groups(self) -> list[str]:
        """The class of each sample, for a stratified split; of several classes the rarest, of none an empty name."""
        if not self.multilabel:
            return [self.classes[place] for place in self.targets]
        counts = self.targets.sum(axis=0, dtype=np.int64)
        rarity = np.where(self.targets > 0, counts, np.iinfo(np.int64).max)
        rarest = rarity.argmin(axis=1) if len(self.classes) else np.zeros(len(self.targets), dtype=np.int64)
        return [self.classes[place] if self.targets[row, place] else "" for row, place in enumerate(rarest.tolist())]


_NUMBER = re.compile(r"-?\d{1,18}")

_MOST_TARGETS = 1 << 32
"""Samples times classes of a table of several labels a sample: a byte each."""


def class_names(values: Sequence[Any]) -> list[str]:
    """The different values as class names: numbers in their order, words in that of the alphabet."""
    names = sorted({class_name(value) for value in values})
    if all(_NUMBER.fullmatch(name) for name in names):
        names.sort(key=int)
    return names


def class_name(value: Any) -> str:
    """A cell as the name of a class: 3.0 is the class 3, as spreadsheets write it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def is_empty(value: Any) -> bool:
    """A cell that says nothing."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or not str(value).strip()


def single(values: Sequence[Any], told: str, where: Where, classes: Sequence[str] | None = None) -> Labels:
    """One class a sample.

    Args:
        values: a cell a sample.
        told: what holds the labels, for messages: "the column 'kind'".
        where: says where a row lies.
        classes: class names; None takes every value that occurs.

    Raises:
        UserError: an empty cell, a class that is not in `classes`, or a column that cannot hold classes.
    """
    empty = [row for row, value in enumerate(values) if is_empty(value)]
    if empty:
        raise UserError(
            f"{where(empty[0])} has no label ({told} is empty, in {len(empty)} of {len(values)}): give it one or leave "
            "it out"
        )
    names = [class_name(value) for value in values]
    known = list(classes) if classes is not None else class_names(names)
    if classes is None and len(names) >= _FEWEST_TO_DOUBT and len(known) > len(names) / 2:
        raise UserError(
            f"{where(0)}: {told} has {len(known)} different values in {len(names)} samples, such as {names[0]!r}, too "
            "many for classes. Say what holds the classes: data.train.label=COLUMN, or another pattern"
        )
    return Labels(known, _places(names, known, told, where))


def several(values: Sequence[Sequence[Any]], told: str, where: Where, classes: Sequence[str] | None = None) -> Labels:
    """A list of classes a sample, perhaps an empty one.

    Raises:
        UserError: a class that is not in `classes`, or no class at all.
    """
    names = [[class_name(entry) for entry in row if not is_empty(entry)] for row in values]
    flat = [name for row in names for name in row]
    known = list(classes) if classes is not None else class_names(flat)
    if not known:
        raise UserError(f"{told} names no class in any of its {len(values)} rows")
    if len(names) * len(known) > _MOST_TARGETS:
        raise UserError(
            f"{told} names {len(known)} classes in {len(names)} rows, too many for several classes a sample: choose "
            "another column, or another label_separator"
        )
    rows = np.repeat(np.arange(len(names)), [len(row) for row in names])
    targets = np.zeros((len(names), len(known)), dtype=np.uint8)
    targets[rows, _places(flat, known, told, lambda place: where(int(rows[place])))] = 1
    return Labels(known, targets)


def from_columns(columns: dict[str, Sequence[Any]], where: Where) -> Labels:
    """A column of 0 and 1 for each class.

    Raises:
        UserError: a cell that is neither; the message says where.
    """
    targets = np.zeros((len(next(iter(columns.values()))), len(columns)), dtype=np.uint8)
    for place, (column, values) in enumerate(columns.items()):
        for row, value in enumerate(values):
            cell = _YES_NO.get(str(value).strip().lower())
            if cell is None:
                raise UserError(
                    f"{where(row)} has {value!r} in the column {column!r}: columns of labels hold 0 or 1. One column "
                    "with the name of the class is chosen by `label`"
                )
            targets[row, place] = cell
    return Labels(list(columns), targets)


def _places(names: list[str], known: list[str], told: str, where: Where) -> np.ndarray:
    place = {name: index for index, name in enumerate(known)}
    if len(place) != len(known):
        twice = Counter(known).most_common(1)[0][0]
        raise UserError(f"classes names {twice!r} more than once")
    for row, name in enumerate(names):
        if name not in place:
            raise UserError(
                f"{where(row)} has the class {name!r} in {told}, which is none of the {len(known)} classes"
                f"{suggest(name, known)}"
            )
    return np.array([place[name] for name in names], dtype=np.int64)
