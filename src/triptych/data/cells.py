"""Cells of a table that stand for an image or a sound: the file itself, or where it lies."""

from pathlib import Path
from typing import Any

from triptych.data.files import read_sample_file
from triptych.data.medium import Medium
from triptych.data.source import BadSample
from triptych.errors import UserError


def cell_path(cell: Any, folder: Path) -> Path | None:
    """The file that a cell names, a relative one in `folder`; None where the cell holds the image itself, or nothing.

    Args:
        cell: text, bytes, or both as `datasets` stores them (`{"bytes": ..., "path": ...}`).
        folder: that relative paths start from.
    """
    if isinstance(cell, dict):
        cell = cell.get("path") if cell.get("bytes") is None else None
    return folder / cell.strip() if isinstance(cell, str) and cell.strip() else None


def cell_bytes(cell: Any, folder: Path) -> bytes:
    """The image file of a cell; BadSample where it cannot be opened, and for an empty cell."""
    path = cell_path(cell, folder)
    if path is not None:
        return read_sample_file(path)
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(data, bytes):
        raise BadSample("the cell is empty")
    return data


def require_files(cells: list[Any], folder: Path, where: str, column: str, root: str | None, medium: Medium) -> None:
    """Tells a wrong folder or column before training: of the first cells, one file at least must be there.

    Args:
        cells: the first ones.
        folder: that relative paths start from.
        where: the first cell lies, for the message.
        column: that they are of.
        root: `data.root` as the user gave it.
        medium: what the files hold.

    Raises:
        UserError: there is none.
    """
    if any((path := cell_path(cell, folder)) is None or path.is_file() for cell in cells):
        return
    if "://" in str(cells[0]):
        raise UserError(
            f"{where}: {cells[0]} is an address, and {medium.many} are read from this machine only: fetch them and "
            "name the files"
        )
    start = f"data.root={root}" if root is not None else "the folder of the manifest; set data.root=FOLDER"
    raise UserError(
        f"{where}: there is no {medium.one} {cell_path(cells[0], folder)}, nor any of the first {len(cells)} of the "
        f"column {column!r}. Relative paths start from {start}"
    )
