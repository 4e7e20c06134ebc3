"""Sums over rows of a similarity matrix that is never whole in memory.

A contrastive loss is a sum over queries, and the gradient of a sum needs no graph of the whole: each tile of queries
meets all keys, gives its value and its gradients at once, and is forgotten. What is kept for the backward pass is the
gradient of the embeddings, O(batch x dim), which the backward pass would make first anyway; what is held for a moment
is one tile, O(tile x batch).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks

# (queries, keys, ids of the queries, ids of the keys, log of the scale, bias) -> sum over the queries, a scalar
Block = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None], Tensor]
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]


def tiled_sum(
    block: Block,
    first: Tensor,
    second: Tensor,
    first_ids: Tensor,
    second_ids: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor | None,
    rows: range | None,
    tile: int | None,
    both_ways: bool,
) -> Tensor:
    """`block` summed over the `rows` of `first` (None: all) against all of `second`, `tile` of them at a time (None:
    all at once); `both_ways` takes the mean of this and of the same rows of `second` against all of `first`.

    Embeddings of less than float32 are widened, and autocast and TF32 are held off. It can be differentiated once.
    """
    wide = torch.promote_types(torch.promote_types(first.dtype, second.dtype), torch.float32)
    rows = range(len(first)) if rows is None else rows
    wanted = wants_gradients(first, second, logit_scale, logit_bias)
    result: Any = _TiledSum.apply(
        block, wanted, rows, tile or max(len(rows), 1), both_ways, first.to(wide), second.to(wide), first_ids,
        second_ids, logit_scale, logit_bias,
    )  # fmt: skip
    return result


class _TiledSum(Function):
    @staticmethod
    def forward(
        ctx: Any,
        block: Block,
        wanted: bool,
        rows: range,
        tile: int,
        both_ways: bool,
        first: Tensor,
        second: Tensor,
        first_ids: Tensor,
        second_ids: Tensor,
        logit_scale: Tensor,
        logit_bias: Tensor | None,
    ) -> Tensor:
        total = first.new_zeros(())
        shared = [None if value is None else torch.zeros_like(value) for value in (logit_scale, logit_bias)]
        sums = [torch.zeros_like(first), torch.zeros_like(second)] if wanted else []
        sides = ((first, first_ids), (second, second_ids))
        for way in (0, 1) if both_ways else (0,):
            (queries, query_ids), (keys, key_ids) = sides[way], sides[1 - way]
            for start in range(rows.start, rows.stop, tile):
                part = slice(start, min(start + tile, rows.stop))
                value, gradients = value_and_gradients(
                    block, queries[part], keys, query_ids[part], key_ids, logit_scale, logit_bias, wanted
                )
                total += value
                if wanted:
                    for gradient, into in zip(
                        gradients, (sums[way][part], sums[1 - way], *shared), strict=True
                    ):  # fmt: skip
                        if into is not None and gradient is not None:
                            into += gradient
        share = 0.5 if both_ways else 1.0
        if wanted:
            kept = [*sums, *shared]
            for gradient in kept:
                if gradient is not None:
                    gradient *= share
            ctx.save_for_backward(*kept)
        return total * share

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        first, second, scale, bias = scaled(ctx.saved_tensors, grad_outputs[0])
        return (None, None, None, None, None, first, second, None, None, scale, bias)


def wants_gradients(*inputs: Tensor | None) -> bool:
    """Whether a graph is being made of any of them; inside a Function's forward this cannot be told."""
    return torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in inputs)


def value_and_gradients(
    block: Block,
    queries: Tensor,
    keys: Tensor,
    query_ids: Tensor,
    key_ids: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor | None,
    wanted: bool = True,
) -> tuple[Tensor, Gradients]:
    """The value of a block and, if `wanted`, its gradients by the queries, keys, scale and bias (None where the
    block does not depend on one).
    """
    leaves = [
        None if value is None else value.detach().requires_grad_(wanted)
        for value in (queries, keys, logit_scale, logit_bias)
    ]
    # A tile's graph lives for a moment: hooks from outside, such as an offload to the CPU, have no business with it.
    with torch.set_grad_enabled(wanted), _full_precision(queries.device.type), saved_tensors_hooks(_same, _same):
        value = block(leaves[0], leaves[1], query_ids, key_ids, leaves[2], leaves[3])  # pyright: ignore[reportArgumentType]
        if not wanted:
            return value, (None, None, None, None)
        there = [leaf for leaf in leaves if leaf is not None]
        found = iter(torch.autograd.grad(value, there, allow_unused=True))
    gradients = tuple(None if leaf is None else next(found) for leaf in leaves)
    return value.detach(), gradients  # pyright: ignore[reportReturnType]


def scaled(gradients: tuple[Tensor | None, ...], upstream: Tensor) -> list[Tensor | None]:
    """The gradients times that of the loss."""
    return [None if each is None else each * upstream.to(each.dtype) for each in gradients]


def _same(tensor: Tensor) -> Tensor:
    return tensor


@contextmanager
def _full_precision(device: str) -> Iterator[None]:
    """At a scale of 100, bfloat16 logits are wrong by 0.3, TF32 ones by 0.05."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
