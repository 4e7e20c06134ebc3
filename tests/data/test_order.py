"""An order is a pure function of (seed, epoch, step), and each epoch holds each sample once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.data.order import Order, mixed_seed
from triptych.errors import UserError

SIZES = st.integers(1, 60)


@settings(max_examples=60, deadline=None)
@given(size=SIZES, batch_size=st.integers(1, 70), seed=st.integers(0, 2**40), epoch=st.integers(0, 3))
def test_each_sample_once_an_epoch(size: int, batch_size: int, seed: int, epoch: int) -> None:
    order = Order(size, batch_size, seed)
    first = epoch * order.steps_per_epoch
    batches = [order.indices(first + step).tolist() for step in range(order.steps_per_epoch)]
    assert sorted(index for batch in batches for index in batch) == list(range(size))
    assert all(len(batch) == batch_size for batch in batches[:-1])


@settings(max_examples=60, deadline=None)
@given(
    size=SIZES, batch_size=st.integers(1, 20), seed=st.integers(0, 99), asked=st.lists(st.integers(0, 200), max_size=8)
)
def test_a_step_does_not_depend_on_what_was_asked_before(
    size: int, batch_size: int, seed: int, asked: list[int]
) -> None:
    used = Order(size, batch_size, seed)
    for step in asked:
        np.testing.assert_array_equal(used.indices(step), Order(size, batch_size, seed).indices(step))


@settings(max_examples=60, deadline=None)
@given(size=SIZES, batch_size=st.integers(1, 20), step=st.integers(0, 100), world_size=st.integers(1, 7))
def test_ranks_share_the_global_batch(size: int, batch_size: int, step: int, world_size: int) -> None:
    order = Order(size, batch_size, seed=3)
    slices = [order.indices(step, rank, world_size) for rank in range(world_size)]
    np.testing.assert_array_equal(np.concatenate(slices), order.indices(step))
    lengths = [len(each) for each in slices]
    assert max(lengths) - min(lengths) <= 1


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(Order(50, 50, seed).indices(epoch).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_order_never_changes_between_versions() -> None:
    # A run that is resumed under another NumPy or Triptych must see the same data: these numbers must never change.
    assert Order(8, 8, seed=1).indices(0).tolist() == [6, 0, 4, 7, 5, 2, 1, 3]
    assert mixed_seed(1, 2, 3) == 13041116711478803063


def test_without_shuffle_samples_come_in_their_own_order() -> None:
    order = Order(5, 2, shuffle=False)
    assert [order.indices(step).tolist() for step in range(4)] == [[0, 1], [2, 3], [4], [0, 1]]


@pytest.mark.parametrize(("size", "batch_size", "named"), [(0, 4, "0 samples"), (4, 0, "data.batch_size is 0")])
def test_impossible_sizes_are_told(size: int, batch_size: int, named: str) -> None:
    with pytest.raises(UserError, match=named):
        Order(size, batch_size)
