"""Invariants of a stack of blocks, over the parts it can be made of."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from triptych.nn.drop import draw_kept
from triptych.nn.feedforward import GeGLUFeedForward, GELUFeedForward, QuickGELUFeedForward, SwiGLUFeedForward
from triptych.nn.init import initialise
from triptych.nn.layout import Rotary, SequenceLayout
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm, RMSNorm
from triptych.nn.stack import Stack

MIXERS = {
    "softmax": partial(SoftmaxMixer, heads=4),
    "grouped": partial(SoftmaxMixer, heads=4, kv_heads=2, qkv_bias=False),
    "qk-norm": partial(SoftmaxMixer, heads=4, qk_norm=RMSNorm),
}
FEEDFORWARDS = [GELUFeedForward, QuickGELUFeedForward, SwiGLUFeedForward, GeGLUFeedForward]
PARTS = list(product(MIXERS, FEEDFORWARDS, [LayerNorm, RMSNorm]))
DIM, LENGTHS = 16, [3, 6, 3, 5]


def make(mixer: str = "softmax", feedforward: Any = GELUFeedForward, norm: Any = LayerNorm, **settings: Any) -> Stack:
    torch.manual_seed(0)
    stack = Stack(DIM, settings.pop("depth", 3), MIXERS[mixer], feedforward, norm, **settings)
    initialise(stack)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return stack


def run(stack: Stack, x: Tensor, route: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """The output, then the gradient of the input and of every parameter."""
    x = x.clone().requires_grad_()
    out = route(x)
    leaves = [x, *stack.parameters()]
    grads = torch.autograd.grad((out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum(), leaves)
    return [out.detach(), *grads]


def assert_same(found: Sequence[Tensor], wanted: Sequence[Tensor], tolerance: float) -> None:
    for got, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=tolerance * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize(("mixer", "feedforward", "norm"), PARTS)
@pytest.mark.parametrize(("causal", "turned"), [(False, False), (True, True)])
def test_packed_padded_and_separate_agree_and_every_parameter_gets_a_gradient(
    mixer: str, feedforward: type[nn.Module], norm: type[nn.Module], causal: bool, turned: bool
) -> None:
    stack = make(mixer, feedforward, norm, layer_scale=0.5)
    padded = SequenceLayout.padded(LENGTHS, 7, causal)
    angles = torch.randn(7, 2)
    rotary = Rotary(angles.cos(), angles.sin()) if turned else None
    padded = padded.with_rotary(rotary)
    packed = padded.to_packed()
    x = torch.randn(sum(LENGTHS), DIM)

    def separate(x: Tensor) -> Tensor:
        outputs = []
        for sample in x.split(LENGTHS):
            layout = SequenceLayout.dense(1, len(sample), causal)
            cut = None if rotary is None else Rotary(rotary.cos[: len(sample)], rotary.sin[: len(sample)])
            outputs.append(stack(sample[None], layout.with_rotary(cut))[0])
        return torch.cat(outputs)

    expected = run(stack, x, separate)
    assert_same(run(stack, x, lambda x: stack(x, packed)), expected, 2e-6)
    assert_same(run(stack, x, lambda x: padded.pack(stack(padded.unpack(x), padded))), expected, 2e-6)
    assert all(grad.abs().max() > 1e-7 for grad in expected[1:])


def test_intermediates_end_in_the_output() -> None:
    stack, layout, x = make().eval(), SequenceLayout.dense(2, 5), torch.randn(2, 5, DIM)
    features = stack.intermediates(x, layout)
    assert len(features) == 3
    assert torch.equal(features[-1], stack(x, layout))
    assert not torch.allclose(features[0], features[1])


def test_stochastic_depth_is_off_in_evaluation_and_grows_linearly() -> None:
    dropping, plain = make(stochastic_depth=0.9), make()
    plain.load_state_dict(dropping.state_dict())
    layout, x = SequenceLayout.dense(4, 5), torch.randn(4, 5, DIM)
    assert torch.equal(dropping.eval()(x, layout), plain.eval()(x, layout))
    assert dropping.rates == pytest.approx([0.0, 0.45, 0.9])
    assert make(stochastic_depth=0.5, depth=1).rates == [0.5]


@pytest.mark.parametrize("packed", [False, True])
def test_stochastic_depth_is_right_in_expectation(packed: bool) -> None:
    """The mean over many draws of one block's output is the output of the whole block."""
    stack = make(stochastic_depth=0.5, depth=1, final_norm=False)
    for parameter in stack.get_submodule("blocks.0.feedforward.down").parameters():
        torch.nn.init.zeros_(parameter)
    layout = SequenceLayout.packed_from(LENGTHS) if packed else SequenceLayout.dense(5, 3)
    x = torch.randn(sum(LENGTHS), DIM) if packed else torch.randn(5, 3, DIM)
    with torch.no_grad():
        expected = stack.eval()(x, layout) - x
        stack.train()
        torch.manual_seed(0)
        draws = torch.stack([stack(x, layout) - x for _ in range(500)])
    torch.testing.assert_close(draws.mean(0), expected, rtol=0, atol=0.2 * float(expected.abs().max()))
    assert draws.std(0).max() > 0.1 * expected.abs().max()


def test_dropped_samples_are_not_computed() -> None:
    """FLOPs fall with the rate: linear growth to 0.5 over the blocks leaves 1 - 0.25 of them."""
    layout, x = SequenceLayout.dense(8, 4), torch.randn(8, 4, DIM)

    def flops(stack: Stack) -> float:
        with FlopCounterMode(display=False) as counter:
            for _ in range(12):
                stack(x, layout).sum().backward()
        return counter.get_total_flops()

    assert flops(make(stochastic_depth=0.5).train()) / flops(make().train()) == pytest.approx(0.75, abs=0.04)


def test_a_small_batch_drops_the_right_share_on_average() -> None:
    """At rate 0.1 a batch of 2 loses a sample every fifth time, and never all."""
    torch.manual_seed(0)
    kept = draw_kept([0.1] * 2000 + [0.99] * 50, SequenceLayout.dense(2, 3))
    counts = [2 if k is None else len(k.rows) for k in kept]
    assert sum(counts[:2000]) / 4000 == pytest.approx(0.9, abs=0.02)
    assert min(counts) == 1


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="depth is 0"):
        make(depth=0)
    with pytest.raises(ValueError, match=r"stochastic_depth is 1\.0"):
        make(stochastic_depth=1.0)


@pytest.mark.slow
def test_block_compiles_whole() -> None:
    """One graph, forward and backward. In a process of its own: the shape checks of the tests are no part of what is
    compiled; without code generation, which takes a minute and adds nothing to the property."""
    program = """
import torch
from functools import partial
from triptych.nn.block import Block
from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.layout import SequenceLayout
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm
block = Block(32, partial(SoftmaxMixer, heads=2), GELUFeedForward, LayerNorm, 0.1)
compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
for layout, x in (
    (SequenceLayout.dense(2, 5), torch.randn(2, 5, 32)),
    (SequenceLayout.packed_from([3, 4, 3]), torch.randn(10, 32)),
):
    expected, found = block(x, layout), compiled(x, layout)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    found.sum().backward()
    assert all(p.grad is not None for p in block.parameters())
print("whole")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "whole" in done.stdout, done.stderr[-2000:]
