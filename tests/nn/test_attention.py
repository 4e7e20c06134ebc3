"""Attention and rotation against naive references, on every route."""

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from triptych.nn.attention import attend, rotate
from triptych.nn.layout import Rotary, SequenceLayout

Naive = Callable[..., Tensor]


def random_qkv(total: int, heads: int, kv_heads: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(total)
    return (
        torch.randn(total, heads, dim, generator=generator, requires_grad=True),
        torch.randn(total, kv_heads, dim, generator=generator, requires_grad=True),
        torch.randn(total, kv_heads, dim, generator=generator, requires_grad=True),
    )


def run(function: Callable[[], Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
    """The output, then a gradient for each leaf."""
    out = function()
    grads = torch.autograd.grad((out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum(), leaves)
    return [out.detach(), *grads]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("lengths", [[5], [6, 6, 6], [3, 7, 3, 1]])
def test_packed_and_padded_equal_the_naive_reference_of_each_sequence(
    lengths: list[int], kv_heads: int, causal: bool, naive_attention: Naive
) -> None:
    qkv = random_qkv(sum(lengths), 4, kv_heads, 8)
    packed, padded = SequenceLayout.packed_from(lengths, causal), SequenceLayout.padded(lengths, max(lengths), causal)

    def separate() -> Tensor:
        parts = zip(*(x.split(lengths) for x in qkv), strict=True)
        return torch.cat([naive_attention(q, k, v, causal) for q, k, v in parts])

    def in_rows() -> Tensor:
        q, k, v = (padded.unpack(x) for x in qkv)
        return padded.pack(attend(q, k, v, padded))

    expected = run(separate, qkv)
    for route in (in_rows, lambda: attend(*qkv, packed)):
        for got, wanted in zip(run(route, qkv), expected, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-5, atol=2e-6)


def test_padding_reaches_no_output() -> None:
    layout = SequenceLayout.padded([2, 5], 5)
    x = torch.randn(2, 5, 1, 4)
    other = x.clone()
    other[0, 2:] = 1e4
    assert torch.equal(attend(x, x, x, layout)[0, :2], attend(x, other, other, layout)[0, :2])
    assert attend(other, other, other, layout).isfinite().all()


@given(tokens=st.integers(1, 7), heads=st.integers(1, 3), pairs=st.integers(1, 5), dtype=st.sampled_from([32, 64]))
@settings(max_examples=20, deadline=None)
def test_rotation_turns_neighbours_by_their_angle(tokens: int, heads: int, pairs: int, dtype: int) -> None:
    kind = {32: torch.float32, 64: torch.float64}[dtype]  # two roads, one result
    x, angles = torch.randn(tokens, heads, 2 * pairs, dtype=kind), torch.randn(tokens, pairs)
    expected = torch.empty_like(x)
    for token in range(tokens):
        for pair in range(pairs):
            cos, sin = angles[token, pair].cos(), angles[token, pair].sin()
            turn = torch.stack([torch.stack([cos, -sin]), torch.stack([sin, cos])]).to(kind)
            place = slice(2 * pair, 2 * pair + 2)
            expected[token, :, place] = x[token, :, place] @ turn.T
    torch.testing.assert_close(rotate(x, Rotary(angles.cos(), angles.sin())), expected, rtol=1e-5, atol=1e-6)


def test_a_turn_backwards_undoes_it_and_carries_the_gradient() -> None:
    x, angles = torch.randn(3, 5, 2, 8, requires_grad=True), torch.randn(5, 4)
    there = Rotary(angles.cos(), angles.sin())
    back = rotate(rotate(x, there), Rotary(there.cos, -there.sin))
    torch.testing.assert_close(back, x, rtol=1e-5, atol=1e-6)
    weights = torch.randn_like(x)
    (gradient,) = torch.autograd.grad((rotate(x, there) * weights).sum(), x)
    torch.testing.assert_close(gradient, rotate(weights, Rotary(there.cos, -there.sin)), rtol=1e-5, atol=1e-6)


def test_rotation_takes_any_memory_layout() -> None:
    angles = torch.randn(5, 4)
    rotary = Rotary(angles.cos(), angles.sin())
    wide = torch.randn(2, 5, 3, 9)
    for x in (wide[..., :8], wide[..., 1:], torch.randn(2, 5, 8, 3).transpose(-1, -2)):
        assert torch.equal(rotate(x, rotary), rotate(x.contiguous(), rotary))
