"""Cross-validation: which fold is held out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from triptych.data.files import suggest
from triptych.data.labels import class_name, is_empty
from triptych.errors import UserError

EACH = "each"
"""In place of a fold's name: every fold is held out once, each in a training of its own."""

FOLD = "fold"
"""Name of the column of folds where none is given, and of the group of a pattern."""


@dataclass(frozen=True)
class Folds:
    """Samples are of folds, of which one (or several) is for validation and the rest for training.

    Attributes:
        held_out: name or number of the fold to hold out, or several of them; None where there is no cross-validation.
            `each` trains on all: it is what a cross-validation begins with, which then names one fold after the other.
        column: of a table that says which fold a row is of; None: `fold`.
    """

    held_out: Any = None
    column: str | None = None

    def __bool__(self) -> bool:
        return self.held_out is not None

    def splits(self, cells: Sequence[Any], where: Callable[[int], str]) -> list[str | None]:
        """For each sample `validation` where its fold is held out, else `train`.

        Raises:
            UserError: no such fold, an empty cell, or nothing left to train on.
        """
        if self.held_out == EACH:
            return ["train"] * len(cells)
        several = self.held_out if isinstance(self.held_out, list | tuple) else [self.held_out]
        held = {class_name(each) for each in several}
        empty = next((row for row, cell in enumerate(cells) if is_empty(cell)), None)
        if empty is not None:
            raise UserError(f"{where(empty)} has no fold: fill it in or leave the row out")
        names = [class_name(cell) for cell in cells]
        known = fold_names(cells)
        for name in sorted(held):
            if name not in known:
                raise UserError(f"folds.held_out is {name!r}, which is no fold{suggest(name, known)}")
        if held == set(known):
            raise UserError(f"folds.held_out={self.held_out} is every fold there is; leave one to train on")
        return ["validation" if name in held else "train" for name in names]


def fold_names(cells: Sequence[Any]) -> list[str]:
    """The folds that occur, numbers in their order before words in that of the alphabet."""
    names = {class_name(cell) for cell in cells if not is_empty(cell)}
    return sorted(names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))
