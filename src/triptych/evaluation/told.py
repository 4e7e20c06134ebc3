"""What a model says of images, in the forms that people and programs read."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

FORMATS = ("csv", "json", "jsonl")


@dataclass(frozen=True)
class Told:
    """One image: its name and its classes with their probabilities, the most probable first."""

    name: str
    classes: tuple[tuple[str, float], ...]


def as_text(told: Sequence[Told], form: str, top: int) -> str:
    """All images as `csv` (a row an image), `json` (a list) or `jsonl` (an object a line)."""
    if form == "csv":
        return csv_head(top) + "".join(line_of(each, form, top) for each in told)
    if form == "jsonl":
        return "".join(line_of(each, form, top) for each in told)
    return json.dumps([_plain(each) for each in told], indent=2, ensure_ascii=False) + "\n"


def csv_head(top: int) -> str:
    """`file,label,probability,label_2,probability_2,...`: as many pairs as classes are told."""
    ends = ["", *(f"_{place}" for place in range(2, top + 1))]
    return _row(["file", *(f"{name}{end}" for end in ends for name in ("label", "probability"))])


def line_of(told: Told, form: str, top: int) -> str:
    """One image as a line of `csv` or `jsonl`; a row of csv has blanks where fewer than `top` classes are told."""
    if form == "jsonl":
        return json.dumps(_plain(told), ensure_ascii=False) + "\n"
    cells = [cell for name, probability in told.classes for cell in (name, f"{probability:.6g}")]
    return _row([told.name, *cells, *[""] * (2 * (top - len(told.classes)))])


def table(told: Sequence[Told]) -> str:
    """For people: all classes of a single image, or the first of each of several."""
    if len(told) == 1:
        rows = [(name, probability) for name, probability in told[0].classes]
        title = f"{told[0].name}\n"
        return title + (_aligned(rows) if rows else "  none of its classes is probable enough\n")
    width = max(len(each.name) for each in told)
    lines = []
    for each in told:
        said = "  ".join(f"{name} {probability:.1%}" for name, probability in each.classes[:1]) or "none"
        lines.append(f"{each.name:<{width}}  {said}\n")
    return "".join(lines)


def _aligned(rows: list[tuple[str, float]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "".join(
        f"  {name:<{width}}  {probability:6.1%}  {_bar(probability)}".rstrip() + "\n" for name, probability in rows
    )


def _bar(probability: float) -> str:
    return "█" * round(30 * probability)


def _plain(told: Told) -> dict[str, object]:
    return {
        "file": told.name,
        "classes": [{"label": name, "probability": probability} for name, probability in told.classes],
    }


def _row(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
