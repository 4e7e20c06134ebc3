"""`classes.csv`: how well each class was told from the others, as a table that other programs read."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from triptych.analysis.per_class import ClassScore

COLUMNS = ("support", "predicted", "precision", "recall", "f1")
"""Beside the class's name; an empty cell is a share of nothing."""


def classes_csv(scores: Sequence[ClassScore]) -> str:
    """The scores as CSV, a row a class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", *COLUMNS])
    writer.writerows([score.name, *(getattr(score, column) for column in COLUMNS)] for score in scores)
    return text.getvalue()


def read_classes(path: Path) -> list[ClassScore]:
    """The scores in a `classes.csv`, to the last bit; none where there is no such file.

    Raises:
        ValueError, KeyError: the file is another one.
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            ClassScore(
                row["class"],
                int(row["support"]),
                int(row["predicted"]),
                _share(row["precision"]),
                _share(row["recall"]),
                _share(row["f1"]),
            )
            for row in csv.DictReader(file)
        ]


def _share(cell: str) -> float | None:
    return float(cell) if cell else None
