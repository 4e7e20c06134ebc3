"""`classes.csv`: how well each class was told from the others in a validation, from the confusion of all of it."""

import csv
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class ClassRow:
    """One class: its samples, how many samples were taken for it, and how many of those rightly."""

    name: str
    samples: int
    predicted: int
    right: int

    @property
    def recall(self) -> float | None:
        """The share of its samples that was found; None where it has none."""
        return self.right / self.samples if self.samples else None

    @property
    def precision(self) -> float | None:
        """The share of what was taken for it that was right; None where nothing was."""
        return self.right / self.predicted if self.predicted else None


def class_rows(confusion: Int[Tensor, "classes classes"], classes: list[str]) -> list[ClassRow]:
    """A row for each class, from counts by true class (rows) and predicted class (columns)."""
    columns = (confusion.sum(1).tolist(), confusion.sum(0).tolist(), confusion.diagonal().tolist())
    return [ClassRow(*row) for row in zip(classes, *columns, strict=True)]


def classes_csv(rows: list[ClassRow]) -> str:
    """The rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(ClassRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def read_classes(path: Path) -> list[ClassRow]:
    """The rows of a `classes.csv`; none where there is no such file.

    Raises:
        ValueError, KeyError: the file is another one.
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            ClassRow(row["name"], int(row["samples"]), int(row["predicted"]), int(row["right"]))
            for row in csv.DictReader(file)
        ]
