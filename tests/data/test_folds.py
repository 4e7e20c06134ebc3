"""One fold is held out and the others are trained on: every sample is on one side, and no fold is on both."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.data.folds import EACH, Folds, fold_names
from triptych.errors import UserError


def where(row: int) -> str:
    return f"row {row}"


@given(st.lists(st.sampled_from(["1", "2", "10", "a"]), min_size=1), st.sampled_from(["1", "2", "10", "a"]))
def test_the_held_out_fold_alone_is_for_validation(cells: list[str], held: str) -> None:
    folds = Folds(held)
    if held not in cells or len(set(cells)) == 1:
        with pytest.raises(UserError, match=r"which is no fold|is every fold there is"):
            folds.splits(cells, where)
        return
    assert folds.splits(cells, where) == ["validation" if cell == held else "train" for cell in cells]


@pytest.mark.parametrize(
    ("held", "cells"),
    [(2, [1, 2, 3]), ("2", [1.0, 2.0, 3.0]), ([2, "4"], ["1", " 2 ", "4"]), ((2,), ["1", "2", "3"])],
)
def test_numbers_words_and_several_folds_are_one(held: Any, cells: list[Any]) -> None:
    wanted = {"validation": 2 if isinstance(held, list) else 1}
    assert Folds(held).splits(cells, where).count("validation") == wanted["validation"]
    assert Folds(held).splits(cells, where)[1] == "validation"


def test_without_a_fold_there_are_none_and_each_trains_on_all() -> None:
    assert not Folds()
    assert not Folds(column="part")
    assert Folds(0), "a fold may be named 0"
    assert Folds(EACH).splits(["1", "2"], where) == ["train", "train"]
    assert fold_names([10, 2, "b", "a", 1.0, None, math.nan, " "]) == ["1", "2", "10", "a", "b"]


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match=r"folds\.held_out is 'jackon', which is no fold; did you mean 'jackson'"):
        Folds("jackon").splits(["jackson", "theo"], where)
    with pytest.raises(UserError, match=r"folds\.held_out=\[1, 2\] is every fold there is; leave one to train on"):
        Folds([1, 2]).splits(["1", "2"], where)
    for empty in (None, math.nan, "  "):
        with pytest.raises(UserError, match="row 1 has no fold: fill it in or leave the row out"):
            Folds("1").splits(["1", empty, "2"], where)
