"""Of two nested dictionaries every differing leaf is told, and no other."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from triptych.analysis.changes import ABSENT, Change, changes, flat

LEAVES = st.sampled_from([None, True, 0, 1, 1.5, math.nan, "a", "", [1], [1, 2], {}])
TREES = st.dictionaries(
    st.sampled_from("abc"), LEAVES | st.dictionaries(st.sampled_from("abc"), LEAVES, max_size=3), max_size=3
)


@given(TREES)
def test_a_tree_does_not_differ_from_itself(tree: dict[str, Any]) -> None:
    assert changes(tree, tree) == []


@given(TREES, TREES)
def test_what_is_told_makes_one_the_other(first: dict[str, Any], second: dict[str, Any]) -> None:
    leaves = flat(first)
    for change in changes(first, second):
        if change.second is ABSENT:
            del leaves[change.key]
        else:
            leaves[change.key] = change.second
    expected = flat(second)
    assert leaves.keys() == expected.keys()
    assert all(leaves[key] == expected[key] or leaves[key] != leaves[key] for key in expected)


def test_keys_are_dotted_and_some_are_ignored() -> None:
    first = {"output": "a", "optimizer": {"lr": 0.1, "betas": [0.9, 0.95]}, "ema": None, "beta": math.nan}
    second = {"output": "b", "optimizer": {"lr": 0.2, "betas": [0.9, 0.99]}, "ema": {"decay": 0.9}, "beta": math.nan}
    assert changes(first, second, frozenset({"output"})) == [
        Change("optimizer.lr", 0.1, 0.2),
        Change("optimizer.betas", [0.9, 0.95], [0.9, 0.99]),
        Change("ema", None, ABSENT),
        Change("ema.decay", ABSENT, 0.9),
    ]
