"""Samples of all processes of a group, with their gradients."""

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor
from torch.autograd import Function


@dataclass(frozen=True)
class Shards:
    """How the samples of a global batch lie over the processes of a group, in the order of their ranks.

    Args:
        counts: samples of each process; some may have none.
        rank: of this process within the group.
        group: the processes; None for all there are. It must be the data-parallel group: peers that hold parts of
            one model hold the same samples, which would be negatives of themselves.
    """

    counts: tuple[int, ...]
    rank: int = 0
    group: dist.ProcessGroup | None = None

    @classmethod
    def agree(cls, count: int, device: torch.device, group: dist.ProcessGroup | None = None) -> "Shards":
        """The shards where this process has `count` samples; all processes of the group must ask. It waits for the
        device, unless this process is alone.
        """
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size(group) == 1:
            return cls((count,))
        counts = torch.empty(dist.get_world_size(group), dtype=torch.int64, device=device)
        dist.all_gather_into_tensor(counts, torch.tensor([count], device=device), group)
        return cls(tuple(counts.tolist()), dist.get_rank(group), group)

    @property
    def world(self) -> int:
        """How many processes there are."""
        return len(self.counts)

    @property
    def total(self) -> int:
        """Samples of all processes."""
        return sum(self.counts)

    @property
    def ranges(self) -> list[range]:
        """The rows of each process among those of all."""
        ends = list(accumulate(self.counts))
        return [range(end - count, end) for end, count in zip(ends, self.counts, strict=True)]

    @property
    def own(self) -> range:
        """The rows of this process."""
        return self.ranges[self.rank]


def gather(tensor: Shaped[Tensor, "samples *rest"], shards: Shards) -> Shaped[Tensor, "total *rest"]:
    """The samples of all processes, by rank; shards may differ in size.

    Backward, each process gets the sum over all processes of the gradients by its own samples (a reduce-scatter).
    """
    if shards.world == 1:
        return tensor
    found: Any = _Gather.apply(tensor, shards)
    return found


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, shards: Shards) -> Tensor:
        ctx.shards = shards
        longest = max(shards.counts)
        padded = tensor.new_zeros(longest, *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        everyone = tensor.new_empty(shards.world * longest, *tensor.shape[1:])
        dist.all_gather_into_tensor(everyone, padded, shards.group)
        parts = everyone.split(longest)
        return torch.cat([part[:count] for part, count in zip(parts, shards.counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        shards: Shards = ctx.shards
        (gradient,) = grad_outputs
        longest = max(shards.counts)
        padded = gradient.new_zeros(shards.world, longest, *gradient.shape[1:])
        for part, rows in zip(padded, shards.ranges, strict=True):
            part[: len(rows)] = gradient[rows.start : rows.stop]
        own = torch.empty_like(padded[0])
        dist.reduce_scatter_tensor(own, padded.flatten(0, 1), group=shards.group)
        return own[: len(shards.own)], None
