"""Products in float8, computed on a CPU as a GPU would; what a GPU itself computes is marked `gpu`."""

import copy

import pytest
import torch
from torch import Tensor, nn

from triptych.errors import UserError
from triptych.nn.float8 import require_float8, use_float8
from triptych.nn.layout import SequenceLayout
from triptych.nn.stack import Stack

from .test_stack import make

pytest.importorskip("torchao", reason="needs the extra float8")


def output_and_gradients(stack: Stack, x: Tensor, layout: SequenceLayout) -> list[Tensor]:
    out = stack(x, layout)
    weighed = (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum()
    return [out, *torch.autograd.grad(weighed, list(stack.parameters()))]


def test_float8_is_near_and_leaves_the_weights_alone() -> None:
    stack = make()
    other = copy.deepcopy(stack)
    assert use_float8(other.blocks, emulate=True) == 3 * 4
    assert other.state_dict().keys() == stack.state_dict().keys()
    layout, x = SequenceLayout.dense(3, 5), torch.randn(3, 5, 16)
    expected, found = (output_and_gradients(each, x, layout) for each in (stack, other))
    assert not torch.equal(found[0], expected[0])
    for wanted, got in zip(expected, found, strict=True):
        assert got.dtype == wanted.dtype
        assert (got - wanted).norm() < 0.2 * wanted.norm() + 1e-6


def test_widths_that_the_kernels_cannot_take_stay_as_they_are() -> None:
    block = nn.Sequential(*make().blocks)
    for module in block.modules():
        if isinstance(module, nn.Linear):
            module.in_features = 24
    assert use_float8([block], emulate=True) == 0


def test_a_device_without_float8_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"float8-mixed needs a GPU of compute capability 8\.9 .* this is a CPU: take bf16"
    ):
        require_float8(torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9), reason="needs a GPU with float8"
)
def test_a_gpu_computes_what_a_cpu_emulates() -> None:
    emulated = make()
    use_float8(emulated.blocks, emulate=True)
    real = make().cuda()
    use_float8(real.blocks)
    layout, x = SequenceLayout.dense(2, 8), torch.randn(2, 8, 16)
    with torch.autocast("cuda", torch.bfloat16):
        found = real(x.cuda(), SequenceLayout.dense(2, 8))
    torch.testing.assert_close(found.cpu().float(), emulated(x, layout), rtol=0.1, atol=0.1)
