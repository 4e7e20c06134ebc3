"""Rare classes come as often as common ones, in every epoch, whatever restarts and ranks there are."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.data.balanced_order import BalancedOrder, class_weights
from triptych.errors import UserError

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60)


def samples_of(order: BalancedOrder, epoch: int) -> np.ndarray:
    return order.permutation(epoch) % order.total


@settings(max_examples=80, deadline=None)
@given(labels=LABELS, seed=st.integers(0, 2**40), epoch=st.integers(0, 3))
def test_classes_come_equally_often_and_samples_of_one_class_too(labels: list[int], seed: int, epoch: int) -> None:
    order = BalancedOrder(class_weights(labels, 5, 1.0), 7, seed)
    drawn = samples_of(order, epoch)
    assert len(drawn) == len(labels) == order.size
    numbers, visits = np.bincount(labels, minlength=5), np.bincount(drawn, minlength=len(labels))
    wanted = len(labels) / (numbers > 0).sum()
    for sample, label in enumerate(labels):
        assert abs(visits[sample] - wanted / numbers[label]) <= 1 + 1e-6, "rounded up or down"
    assert len(set(order.permutation(epoch).tolist())) == len(labels), "each visit has a number of its own"


@settings(max_examples=30, deadline=None)
@given(labels=LABELS, seed=st.integers(0, 99))
def test_over_many_epochs_the_shares_are_exact(labels: list[int], seed: int) -> None:
    order = BalancedOrder(class_weights(labels, 5, 0.5), 7, seed)
    epochs = 300
    visits = sum(np.bincount(samples_of(order, epoch), minlength=len(labels)) for epoch in range(epochs)) / epochs
    share = np.bincount(labels, minlength=5)[labels] ** -0.5
    expected = share / share.sum() * len(labels)
    # A visit is rounded up or down: the mean over epochs is off by at most some standard errors of that.
    np.testing.assert_allclose(visits, expected, atol=5 * 0.5 / np.sqrt(epochs))


@settings(max_examples=40, deadline=None)
@given(labels=LABELS, batch=st.integers(1, 20), step=st.integers(0, 60), world=st.integers(1, 5))
def test_any_step_is_the_same_from_anywhere_and_shared_by_ranks(
    labels: list[int], batch: int, step: int, world: int
) -> None:
    weights = class_weights(labels, 5, 1.0)
    used = BalancedOrder(weights, batch, 3)
    for other in (step + 9, 0, step):
        found = used.indices(other)
    np.testing.assert_array_equal(found, BalancedOrder(weights, batch, 3).indices(step))
    np.testing.assert_array_equal(np.concatenate([used.indices(step, rank, world) for rank in range(world)]), found)


def test_several_labels_a_sample_add_up() -> None:
    rows = [torch.tensor(row) for row in ([1.0, 0, 0], [1.0, 1, 0], [0.0, 0, 0], [1.0, 0, 0])]
    np.testing.assert_allclose(class_weights(rows, 3, 1.0), [1 / 3, 1 / 3 + 1, 1 / 3, 1 / 3])
    np.testing.assert_allclose(class_weights([0, None, 1, 0], 2, 1.0), [0.5, 0.5, 1.0, 0.5])
    np.testing.assert_allclose(class_weights(rows, 3, 0.0), [1.0, 2.0, 1.0, 1.0])


def test_order_never_changes_between_versions() -> None:
    # A run that is resumed under another version must see the same data: these numbers must never change.
    order = BalancedOrder(np.array([1.0, 1.0, 1.0, 1.0, 4.0]), 5, seed=1)
    assert [order.indices(step).tolist() for step in (0, 1)] == [[9, 14, 4, 3, 1], [1, 4, 0, 2, 9]]


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_impossible_weights_are_told(weight: float) -> None:
    with pytest.raises(UserError, match="must be finite and above 0"):
        BalancedOrder(np.array([1.0, weight]), 2)
