"""Scores of each class are those counted one by one, and come back from the file as they were."""

from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.analysis.class_table import classes_csv, read_classes
from triptych.analysis.per_class import per_class_of_confusion


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40))
@settings(max_examples=30, deadline=None)
def test_rows_count_what_was_said(said: list[tuple[int, int]]) -> None:
    names = ["a,b", 'quo"te', "größe", "line\nbreak"]
    confusion = torch.zeros(4, 4, dtype=torch.int64)
    for true, predicted in said:
        confusion[true, predicted] += 1
    for number, row in enumerate(per_class_of_confusion(confusion.numpy(), names)):
        mine, taken = [p for t, p in said if t == number], [t for t, p in said if p == number]
        assert row.name == names[number]
        assert row.recall == (mine.count(number) / len(mine) if mine else None)
        assert row.precision == (taken.count(number) / len(taken) if taken else None)


def test_the_file_brings_the_rows_back(tmp_path: Path) -> None:
    rows = per_class_of_confusion(torch.randint(0, 9, (3, 3)).numpy(), ["a,b", 'quo"te', "line\nbreak"])
    path = tmp_path / "classes.csv"
    path.write_text(classes_csv(rows), encoding="utf-8", newline="")
    assert read_classes(path) == rows
    assert read_classes(tmp_path / "none.csv") == []
