"""Activation checkpointing: the same numbers for less memory."""

import weakref
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from triptych.nn.layout import SequenceLayout
from triptych.nn.recompute import Recompute, selective, whole

from .test_stack import DIM, LENGTHS, make, run

WAYS: dict[str, tuple[Recompute | None, int]] = {
    "none": (None, 1), "second": (whole, 2), "selective": (selective, 1), "whole": (whole, 1),
}  # fmt: skip


@pytest.mark.parametrize("mixer", ["softmax", "grouped", "qk-norm"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("stochastic_depth", [0.0, 0.6])
def test_the_numbers_are_the_same(mixer: str, packed: bool, stochastic_depth: float) -> None:
    stack = make(mixer, stochastic_depth=stochastic_depth).train()
    lengths = LENGTHS if packed else [4] * 4
    layout = SequenceLayout.packed_from(lengths) if packed else SequenceLayout.dense(4, 4)
    x = torch.randn(sum(lengths), DIM) if packed else torch.randn(4, 4, DIM)
    results = []
    for how, every in WAYS.values():
        stack.recompute(how, every)
        torch.manual_seed(3)
        results.append([*run(stack, x, lambda x: stack(x, layout)), torch.rand(1)])
    for plain, *others in zip(*results, strict=True):
        assert all(torch.equal(plain, other) for other in others)


class Alive(TorchDispatchMode):
    """The bytes of all tensors made within that are still there."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[int, tuple[weakref.ref[Any], int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else [out]:
            if isinstance(each, torch.Tensor):
                storage = each.untyped_storage()
                self._made[storage.data_ptr()] = (weakref.ref(storage), storage.nbytes())
        return out

    @property
    def bytes(self) -> int:
        return sum(size for storage, size in self._made.values() if storage() is not None)


def measured(how: Recompute | None, every: int) -> tuple[int, int]:
    """Bytes that are kept after the forward pass, and FLOPs of both passes."""
    stack = make(depth=4).train()
    stack.recompute(how, every)
    layout, x = SequenceLayout.dense(4, 32), torch.randn(4, 32, DIM, requires_grad=True)
    with Alive() as alive:
        out = stack(x, layout)
    kept = alive.bytes
    with FlopCounterMode(display=False) as flops:
        stack(x, layout).sum().backward()
    del out
    return kept, flops.get_total_flops()


def test_memory_is_saved_for_work_as_each_way_promises() -> None:
    found = {name: measured(*way) for name, way in WAYS.items()}
    kept, flops = ({name: pair[place] for name, pair in found.items()} for place in (0, 1))
    assert kept["whole"] < kept["selective"] < kept["none"]
    assert kept["whole"] < kept["second"] < kept["none"]
    assert kept["whole"] < 0.25 * kept["none"]
    assert kept["selective"] < 0.75 * kept["none"]
    # A forward pass is a third of the two. The last product of a block is not needed again; small maps have much of
    # their work in attention.
    assert 1.2 < flops["whole"] / flops["none"] < 1.34
    assert flops["none"] < flops["selective"] < 1.1 * flops["none"]
    assert abs(flops["second"] - (flops["whole"] + flops["none"]) / 2) < 0.01 * flops["none"]
