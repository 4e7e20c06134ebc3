"""A sum over all pairs of samples of all processes, of which each holds only its own and one visitor."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from triptych.losses.tiles import Block, scaled, value_and_gradients, wants_gradients
from triptych.parallel.gather import Shards


def ring_sum(
    block: Block,
    first: Tensor,
    second: Tensor,
    ids: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor | None,
    shards: Shards,
) -> Tensor:
    """`block` summed over this process's samples of `first` against the samples of `second` of all processes.

    The second go round the ring from neighbour to neighbour, their gradients with them, and come home complete: memory
    is O(own samples), however many processes there are (Zhai et al. 2023, "SigLIP", section 3.3). The block must be a
    sum over pairs. `first` and `second` are the process's own, float32 or wider, `ids` those of all processes.

    The gradient by `second` is the sum over all processes, each of whose results must then have the same gradient, as
    the terms of one sum have.
    """
    result: Any = _RingSum.apply(
        block,
        wants_gradients(first, second, logit_scale, logit_bias),
        shards,
        ids,
        first,
        second,
        logit_scale,
        logit_bias,
    )
    return result


class _RingSum(Function):
    @staticmethod
    def forward(
        ctx: Any,
        block: Block,
        wanted: bool,
        shards: Shards,
        ids: Tensor,
        first: Tensor,
        second: Tensor,
        logit_scale: Tensor,
        logit_bias: Tensor | None,
    ) -> Tensor:
        dim, ranges, own = second.shape[1], shards.ranges, shards.own
        own_ids = ids[own.start : own.stop]
        # The visitors and, beside them, the gradients that they have met so far.
        visit = second.new_zeros(max(shards.counts), 2 * dim if wanted else dim)
        visit[: len(second), :dim] = second
        total = first.new_zeros(())
        kept = [None if value is None else torch.zeros_like(value) for value in (first, logit_scale, logit_bias)]
        for hop in range(shards.world):
            rows = ranges[(shards.rank - hop) % shards.world]
            visitors = visit[: len(rows)]
            value, (by_first, by_second, by_scale, by_bias) = value_and_gradients(
                block, first, visitors[:, :dim], own_ids, ids[rows.start : rows.stop], logit_scale, logit_bias, wanted
            )
            total += value
            for into, gradient in zip(kept, (by_first, by_scale, by_bias), strict=True):
                if into is not None and gradient is not None:
                    into += gradient
            if by_second is not None:
                visitors[:, dim:] += by_second
            visit = _to_the_right(visit, shards)
        if wanted:
            ctx.save_for_backward(kept[0], visit[: len(second), dim:].clone(), kept[1], kept[2])
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (None, None, None, None, *scaled(ctx.saved_tensors, grad_outputs[0]))


def _to_the_right(tensor: Tensor, shards: Shards) -> Tensor:
    """What the left neighbour had; the right one gets ours."""
    if shards.world == 1:
        return tensor
    right, left = (
        dist.get_global_rank(shards.group or dist.group.WORLD, (shards.rank + step) % shards.world)  # pyright: ignore[reportArgumentType]
        for step in (1, -1)
    )
    received = torch.empty_like(tensor)
    sends = [
        dist.P2POp(dist.isend, tensor, right, shards.group),
        dist.P2POp(dist.irecv, received, left, shards.group),
    ]
    for request in dist.batch_isend_irecv(sends):
        request.wait()
    return received
