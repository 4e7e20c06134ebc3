"""Memory and traffic by formula; that real runs send just so much is in tests/distributed/test_collectives.py."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from triptych import create
from triptych.parallel.costs import Shape, held, traffic
from triptych.parallel.mesh import Grid

GRIDS = st.builds(Grid, *(st.sampled_from([1, 2, 4]) for _ in range(4)))
STACK = Shape.stack(depth=8, dim=64, tokens=32)


def test_a_model_is_counted() -> None:
    with torch.device("meta"):
        model = create("vit_small_patch16_224", num_classes=10)
    shape = Shape.of(model, 197.0)
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (shape.depth, shape.dim) == (12, 384)
    # Weights and biases of the four products of each block.
    assert shape.products == 12 * (12 * 384**2 + (3 + 1 + 4 + 1) * 384)
    assert shape.largest == shape.products // 12 + 4 * 384


@given(GRIDS)
def test_together_the_processes_hold_every_weight_once_for_each_replica(grid: Grid) -> None:
    own = held(STACK, grid, samples=4)
    processes = grid.data * grid.tensor * grid.pipeline
    assert own.weights * processes == pytest.approx(4 * STACK.parameters * grid.replicate)
    assert own.states == 2 * own.gradients == 2 * own.weights
    assert (own.gathered > 0) == (grid.shard > 1)
    assert held(STACK, grid, samples=4, states=1, average=False).total < own.total


@given(GRIDS, st.integers(1, 8))
def test_only_what_depends_on_samples_grows_with_micro_batches(grid: Grid, micro_batches: int) -> None:
    once, more = (
        {(each.axis, each.collective): each for each in traffic(STACK, grid, 2, count)} for count in (1, micro_batches)
    )
    assert once.keys() == more.keys()
    assert {axis for axis, _ in once} == {
        axis for axis in ("pipeline", "replicate", "shard", "tensor") if getattr(grid, axis) > 1
    }
    for (axis, collective), each in more.items():
        grows = axis in ("pipeline", "tensor") or collective == "all-gather"
        assert each.payload == pytest.approx(once[axis, collective].payload * (micro_batches if grows else 1))
        assert 0 < each.sent <= 2 * each.payload


@pytest.mark.parametrize("grid", [Grid(), Grid(tensor=2), Grid(pipeline=2)])
def test_computing_again_keeps_less(grid: Grid) -> None:
    kept = [held(STACK, grid, 4, checkpointing=choice).activations for choice in ("none", "selective", "blocks")]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > 1.5 * kept[1] > 3 * kept[2]
