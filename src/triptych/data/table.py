"""A table in a file (CSV, TSV, Parquet) as columns by name. Strict: a line that does not fit is told, not guessed."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from triptych.data.files import suggest
from triptych.errors import UserError

TEXT_ENDINGS = ("csv", "tsv", "txt")
PARQUET_ENDINGS = ("parquet", "pq")
_DELIMITERS = ",;\t|"
_LARGEST_CELL = 1 << 24
_ROWS_AT_ONCE = 256
_FEW_ROWS, _FEW_BYTES = 1 << 20, 1 << 28


class Table:
    """Columns of one file.

    Args:
        path: the file.
        names: of the columns, each once.
        rows: their number.
        read: gives the cells of a column.
        where: says where a row lies in the file.
    """

    def __init__(
        self,
        path: Path,
        names: list[str],
        rows: int,
        read: Callable[[str], list[Any]],
        where: Callable[[int], str],
    ) -> None:
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise UserError(f"{path} has {names.count(twice[0])} columns named {twice[0]!r}: give each its own name")
        if not rows:
            raise UserError(f"{path} has a header ({', '.join(names)}) and no rows")
        self.path, self.names, self._rows, self._read, self.where = path, names, rows, read, where

    def __len__(self) -> int:
        return self._rows

    def column(self, name: str) -> list[Any]:
        """Cells of a column, in the order of the rows.

        Raises:
            UserError: there is no such column; the message shows near ones.
        """
        if name not in self.names:
            raise UserError(f"{self.path} has no column {name!r}{suggest(name, self.names)}")
        return self._read(name)


def read_table(path: Path) -> Table:
    """The table in `path`, by the ending of its name: .csv, .tsv or .txt (UTF-8), .parquet or .pq.

    Raises:
        UserError: another ending, not readable, or not such a table; for Parquet also where pyarrow is missing.
    """
    ending = path.suffix[1:].lower()
    if ending in PARQUET_ENDINGS:
        return _read_parquet(path)
    if ending in TEXT_ENDINGS:
        return _read_text(path)
    raise UserError(
        f"{path} ends in {path.suffix or 'nothing'}: a manifest is a table in a file that ends in "
        f"{', '.join('.' + each for each in (*TEXT_ENDINGS, *PARQUET_ENDINGS))}"
    )


def _read_text(path: Path) -> Table:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}): save it as CSV with UTF-8") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if not text.strip():
        raise UserError(f"{path} is empty: a manifest has a line with the names of its columns, then a line a sample")
    header = text.lstrip("\r\n").splitlines()[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(_DELIMITERS, key=header.count)
    # The module's own limit is 128 KiB a cell, and one for the whole process.
    csv.field_size_limit(max(csv.field_size_limit(), _LARGEST_CELL))
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}. A quote that is opened must be closed") from error
    names = [name.strip() for name in rows[0]]
    _check_header(path, names, delimiter)
    for row, line in zip(rows[1:], lines[1:], strict=True):
        if len(row) != len(names):
            raise UserError(
                f"{path}, line {line} has {len(row)} cells, and the header names {len(names)} columns "
                f"({', '.join(names[:8])}): put cells that hold {delimiter!r} into double quotes"
            )
    places = {name: place for place, name in enumerate(names)}
    del rows[0], lines[0]

    def read(name: str) -> list[Any]:
        return [row[places[name]] for row in rows]

    return Table(path, names, len(rows), read, lambda row: f"{path}, line {lines[row]}")


def _check_header(path: Path, names: list[str], delimiter: str) -> None:
    if len(names) == 1:
        raise UserError(
            f"{path} has one column, {names[0]!r}: a manifest needs a column of images and one of labels, separated "
            f"by {'a tab (its name ends in .tsv)' if delimiter == chr(9) else 'comma, semicolon, tab or |'}"
        )
    if "" in names:
        raise UserError(f"{path}: column {names.index('') + 1} of the header has no name; the header is {names}")


def check_rows(path: Path, rows: int) -> None:
    """Raises UserError for a table of more rows than its file could name: equal cells are stored once."""
    size = path.stat().st_size
    if rows > size + _FEW_ROWS:
        raise UserError(
            f"{path} has {size:,} bytes and says that it holds {rows:,} rows, which could not all be different: it is "
            "damaged, or a trap"
        )


def _cells(path: Path, batches: Iterable[Any]) -> Iterator[Any]:
    """Cells of a column, as long as they are not far more than the file."""
    most, taken = 64 * path.stat().st_size + _FEW_BYTES, 0
    for batch in batches:
        taken += batch.nbytes
        if taken > most:
            raise UserError(f"{path} unpacks to more than {most >> 20:,} MiB, far more than it has: it is a trap")
        yield from batch.column(0).to_pylist()


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ModuleNotFoundError as error:
        raise UserError(
            f"{path} is Parquet, which needs the package pyarrow: pip install 'triptych[parquet]', or save it as CSV"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            names, rows = list(file.schema_arrow.names), file.metadata.num_rows
        check_rows(path, rows)
    except (pyarrow.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{path} cannot be read as Parquet: {first}") from error

    def read(name: str) -> list[Any]:
        try:
            with parquet.ParquetFile(path) as file:
                return list(_cells(path, file.iter_batches(_ROWS_AT_ONCE, columns=[name])))
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(f"{path}, column {name!r} cannot be read: {str(error).splitlines()[0]}") from error

    return Table(path, names, rows, read, lambda row: f"{path}, row {row + 1}")
