"""The batches of several processes, laid side by side, are those of one: whole, and each sample once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.data.samples import Failure
from triptych.errors import UserError
from triptych.evaluation.inference import Said, WholeBatches, merge


@given(size=st.integers(1, 60), batch_size=st.integers(1, 20), world_size=st.integers(1, 7))
def test_batches_are_the_same_for_any_number_of_processes(size: int, batch_size: int, world_size: int) -> None:
    def batches(rank: int, world: int) -> list[tuple[int, ...]]:
        order = WholeBatches(size, batch_size, rank, world)
        return [tuple(order.indices(step).tolist()) for step in range(order.steps_per_epoch)]

    alone = batches(0, 1)
    shared = [batch for rank in range(world_size) for batch in batches(rank, world_size)]
    assert sorted(shared) == alone
    assert [index for batch in alone for index in batch] == list(range(size))


def part(indices: list[int], failed: list[int], number: float = 0.0) -> Said:
    logits = np.array([[index, number] for index in indices], np.float32).reshape(-1, 2)
    failures = tuple(Failure(index, f"file {index}", "broken") for index in failed)
    return Said(np.array(indices, np.int64), np.array(indices, np.int64) % 2, logits, failures)


def test_parts_come_together_in_the_order_of_the_samples() -> None:
    whole = merge([part([0, 1, 4], []), part([2], [3]), part([], [5])])
    assert whole.indices.tolist() == [0, 1, 2, 4]
    assert whole.labels.tolist() == [0, 1, 0, 0]
    assert whole.logits[:, 0].tolist() == [0, 1, 2, 4]
    assert [failure.sample for failure in whole.failures] == [3, 5]


def test_what_cannot_be_measured_is_told() -> None:
    with pytest.raises(UserError, match=r"none of the 2 samples can be read\. First: file 0: broken; file 1: broken"):
        merge([part([], [1]), part([], [0])])
    with pytest.raises(UserError, match=r"not finite for 1 of 2 samples .the first is sample 3"):
        merge([part([2], []), part([3], [], np.nan)])
