"""Cross-validation: which fold is held out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from triptych.data.files import suggest
from triptych.data.labels import class_name, is_empty
from triptych.errors import UserError

FOLD = "fold"
"""Name of the column of folds where none is given, and of the group of a pattern."""


@dataclass(frozen=True)
class Folds:
    """Samples are of folds, of which one (or several) is for validation and the rest for training.

    Attributes:
        held_out: name or number of the fold to hold out, or several of them; None where there is no cross-validation.
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
        several = self.held_out if isinstance(self.held_out, list | tuple) else [self.held_out]
        held = {class_name(each) for each in several}
        empty = next((row for row, cell in enumerate(cells) if is_empty(cell)), None)
        if empty is not None:
            raise UserError(f"{where(empty)} has no fold: fill it in or leave the row out")
        names = [class_name(cell) for cell in cells]
        known = sorted(set(names), key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))
        for name in sorted(held):
            if name not in known:
                raise UserError(f"folds.held_out is {name!r}, which is no fold{suggest(name, known)}")
        if held == set(known):
            raise UserError(f"folds.held_out={self.held_out} is every fold there is; leave one to train on")
        return ["validation" if name in held else "train" for name in names]
