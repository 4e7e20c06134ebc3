"""Large batches on small devices for losses that compare all samples of a batch with each other."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from triptych.checkpoints.rng import rng_state, set_rng_state
from triptych.parallel.pipeline import Pipeline

Features = list[Tensor]
MicroBatch = TypeVar("MicroBatch")


def cached_backward(
    micro_batches: Sequence[MicroBatch],
    embed: Callable[[MicroBatch], Features],
    loss: Callable[[Features, list[Tensor]], Tensor],
    shared: Sequence[Tensor],
    backward: Callable[[Tensor, bool], None],
) -> Tensor:
    """Backward of a loss over the features of all micro-batches, with the activations of one of them at a time; its
    value, detached (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup").

    All micro-batches are embedded first, without a graph but for the last one. The loss of all features gives the
    gradient of each; then the last micro-batch goes backward, and each of the others once more forward, from the same
    state of the random generators, so dropout, stochastic depth and patch dropout draw what they drew, and backward.
    The generators end where one pass would have left them. One micro-batch costs what it would cost without this.

    What the towers change besides gradients, such as running statistics of a batch norm, they change in both passes.

    Args:
        micro_batches: at least one.
        embed: the features of a micro-batch, one tensor (samples, dim) for each modality.
        loss: a scalar from the features of all micro-batches and the `shared` values; any exchange with other
            processes, of values or of gradients, happens in here, before the first call of `backward`.
        shared: parameters that the loss itself takes, such as a scale.
        backward: called with a scalar to go backward from, and whether it is the last, which is when the gradients of
            all processes are exchanged. Each call but the last lacks gradients of `shared`.
    """
    starts, parts, kept = [], [], []
    for index, micro_batch in enumerate(micro_batches):
        last = index == len(micro_batches) - 1
        starts.append(rng_state() if not last else None)
        with torch.set_grad_enabled(last):
            kept = embed(micro_batch)
        parts.append([each.detach() for each in kept])
    end = rng_state()
    value, by_part, by_shared = _gradients(parts, loss, shared)
    for index in reversed(range(len(parts))):
        if index < len(parts) - 1:
            set_rng_state(starts[index])
            kept = embed(micro_batches[index])
        backward(_aligned(kept, by_part[index]) + (by_shared if index == 0 else 0), index == 0)
        kept = []
    set_rng_state(end)
    return value


def staged_backward(
    micro_batches: Sequence[MicroBatch],
    embed: Callable[[MicroBatch], Features],
    loss: Callable[[Features, list[Tensor]], Tensor],
    shared: Sequence[Tensor],
    stages: Pipeline,
) -> Tensor:
    """`cached_backward` through the stages of a pipeline: every micro-batch passes them once more than in one process,
    the last one too. All stages must ask; only in the last one are `loss` and `shared` what they seem.
    """
    start = rng_state()
    parts = stages.forward(embed, micro_batches)
    value, by_part, by_shared = _gradients(parts, loss, shared)
    set_rng_state(start)

    def aligned(index: int) -> Tensor:
        return _aligned(embed(micro_batches[index]), by_part[index]) + (by_shared if index == 0 else 0)

    stages.backward(aligned, range(len(micro_batches)))
    return stages.share(value)


def _gradients(
    parts: Sequence[Features], loss: Callable[[Features, list[Tensor]], Tensor], shared: Sequence[Tensor]
) -> tuple[Tensor, list[tuple[Tensor, ...]], Tensor]:
    """The loss of all features, detached, its gradients by those of each micro-batch, and a scalar whose gradients by
    the `shared` values are those of the loss.
    """
    leaves = [torch.cat(each).requires_grad_() for each in zip(*parts, strict=True)]
    own = [each.detach().requires_grad_() for each in shared]
    value = loss(leaves, own)
    found = torch.autograd.grad(value, [*leaves, *own], allow_unused=True)
    sizes = [len(part[0]) for part in parts]
    by_part = list(zip(*(_split(g, leaf, sizes) for g, leaf in zip(found, leaves, strict=False)), strict=True))
    return value.detach(), by_part, _aligned(list(shared), found[len(leaves) :])


def _split(gradient: Tensor | None, leaf: Tensor, sizes: list[int]) -> Sequence[Tensor]:
    return (torch.zeros_like(leaf) if gradient is None else gradient).split(sizes)


def _aligned(values: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Tensor:
    """A scalar whose gradient by each value is the one given; by a value without one it is zero."""
    total = values[0].new_zeros(()) if values else torch.zeros(())
    for value, gradient in zip(values, gradients, strict=True):
        total = total + (value * (torch.zeros_like(value) if gradient is None else gradient)).sum()
    return total
