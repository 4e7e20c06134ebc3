"""Which columns of a table hold the images, the labels and the split: as the user says, or the only ones that can."""

from collections.abc import Callable, Sequence
from typing import Any

from triptych.data.files import suggest
from triptych.data.medium import Medium, Pictures
from triptych.data.split import SPLIT_NAMES, split_of
from triptych.errors import UserError

LABEL_NAMES = ("label", "class", "category", "target", "labels", "tags", "class_name", "label_name", "classes", "y")
"""Names of columns of labels, lower case, the likeliest first."""

SPLIT_COLUMNS = ("split", "set", "subset", "partition", "usage")
"""Names of columns that say which split a row belongs to, lower case."""


def image_column(
    title: str, names: Sequence[str], first_cells: Callable[[str], Sequence[Any]], medium: Medium | None = None
) -> str:
    """The only column whose first cells are all files of the medium, which is pictures if nothing else is said: their
    bytes, or names that end as those of such files do.

    Raises:
        UserError: there is none, or more than one.
    """
    medium = medium or Pictures()
    found = [name for name in names if (cells := first_cells(name)) and all(_is_file(cell, medium) for cell in cells)]
    return only(title, found, names, medium.many, "data.train.image")


def label_column(title: str, names: Sequence[str]) -> str:
    """The column that is named as labels are, else the only one.

    Args:
        title: the table, for messages.
        names: columns that hold neither images nor splits.

    Raises:
        UserError: no name tells, and there is not just one column.
    """
    named = [name for label in LABEL_NAMES for name in names if name.lower() == label]
    return only(title, named[:1] or names, names, "labels", "data.train.label")


def only(title: str, found: Sequence[str], names: Sequence[str], what: str, setting: str) -> str:
    """The one column that was found; UserError where there is none, or more than one."""
    if len(found) == 1:
        return found[0]
    problem = f"{len(found)} columns could hold the {what}" if found else f"no column seems to hold the {what}"
    listed = ", ".join(found or names) or "there is no other column"
    raise UserError(f"{title}: {problem} ({listed}). Name it: {setting}=COLUMN")


def require(title: str, name: str, names: Sequence[str], what: str = "column") -> None:
    """Raises UserError, with near names, where `name` is no column."""
    if name not in names:
        raise UserError(f"{title} has no {what} {name!r}{suggest(name, list(names))}")


def split_column(names: Sequence[str], cells: Callable[[str], Sequence[Any]]) -> str | None:
    """The column that is named as splits are and in which some cell is a split's name; None where there is none."""
    for name in names:
        if name.strip().lower() in SPLIT_COLUMNS and any(split_of(str(cell)) for cell in cells(name)):
            return name
    return None


def splits(cells: Sequence[Any], told: str, where: Callable[[int], str]) -> list[str | None]:
    """The split of each row, `train`, `validation` or `test`; None for an empty cell.

    Raises:
        UserError: a cell that names no split.
    """
    found = []
    for row, cell in enumerate(cells):
        text = "" if cell is None else str(cell).strip()
        split = split_of(text) if text else None
        if text and split is None:
            known = [name for names in SPLIT_NAMES.values() for name in names]
            raise UserError(f"{where(row)} has {text!r} in {told}, which names no split{suggest(text, known)}")
        found.append(split)
    return found


def _is_file(cell: Any, medium: Medium) -> bool:
    if isinstance(cell, dict):
        return "bytes" in cell
    if isinstance(cell, bytes):
        return True
    return isinstance(cell, str) and cell.strip().rpartition(".")[2].lower() in medium.extensions
