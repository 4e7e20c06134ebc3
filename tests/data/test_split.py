"""Splits by name, and a validation part that is stratified and never changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.data.split import held_out, split_of, stratified


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("Training", "train"), ("VAL", "validation"), ("valid", "validation"),
        ("Validation ", "validation"), ("test", "test"), ("TESTING", "test"), ("trains", None), ("", None),
    ],
)  # fmt: skip
def test_names_of_splits(name: str, split: str | None) -> None:
    assert split_of(name) == split


@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    fraction=st.floats(0.05, 0.6),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_group_gives_its_share(counts: list[int], fraction: float, seed: int) -> None:
    groups = np.repeat([f"class {number}" for number in range(len(counts))], counts)
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    held = stratified(groups[shuffled].tolist(), fraction)
    assert (held == stratified(groups[shuffled].tolist(), fraction)).all()
    for number, count in enumerate(counts):
        taken = held[groups[shuffled] == f"class {number}"].sum()
        assert abs(taken - count * fraction) <= 1
        assert taken < count
        assert count == 1 or taken > 0


def test_two_classes_do_not_hold_back_the_same_places() -> None:
    assert (held_out(50, "cat", 0.5) != held_out(50, "dog", 0.5)).any()
