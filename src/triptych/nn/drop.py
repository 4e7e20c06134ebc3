"""Leaving work out at random: samples of a residual branch (stochastic depth), patches of an image (patch dropout).

Both really leave it out, so their compute is saved. What is kept is drawn before the blocks run, so a block holds no
randomness and activation checkpointing repeats it exactly.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from triptych.nn.layout import SequenceLayout

Branch = Callable[[Tensor, SequenceLayout], Tensor]


class Kept(NamedTuple):
    """The samples that one residual branch is computed for: their rows of the tensor, their layout, and the weight
    (batch / kept) that leaves the branch right in expectation.
    """

    rows: Int[Tensor, " rows"]
    layout: SequenceLayout
    weight: float


def draw_kept(rates: Sequence[float], layout: SequenceLayout) -> list[Kept | None]:
    """For each branch, which samples it is computed for; None keeps all.

    The number kept is ``batch * (1 - rate)``, rounded up or down at random so that a small batch keeps the right share
    on average, and at least one, so that every parameter gets a gradient. Drawn from PyTorch's CPU generator: no wait
    for the device.
    """
    orders, roundings = torch.rand(len(rates), layout.batch).argsort(1).tolist(), torch.rand(len(rates)).tolist()
    chosen: list[list[int] | None] = []
    for rate, order, rounding in zip(rates, orders, roundings, strict=True):
        count = max(1, math.floor(layout.batch * (1 - rate) + rounding))
        chosen.append(sorted(order[:count]) if count < layout.batch else None)
    rows = [[] if kept is None else layout.rows_of(kept) for kept in chosen]
    # One transfer for all branches.
    on_device = torch.tensor([row for part in rows for row in part], dtype=torch.int64).to(
        layout.device, non_blocking=True
    )
    return [
        None if kept is None else Kept(part, layout.select(kept), layout.batch / len(kept))
        for kept, part in zip(chosen, on_device.split([len(part) for part in rows]), strict=True)
    ]


def add_branch(x: Tensor, layout: SequenceLayout, kept: Kept | None, gain: Tensor | None, branch: Branch) -> Tensor:
    """``x + gain * branch(x)``; with ``kept``, the branch is computed for the kept samples alone (Huang et al., 2016;
    by dropping samples as DINOv2 does, which saves their compute).
    """
    if kept is None:
        y = branch(x, layout)
        return x + y if gain is None else torch.addcmul(x, y, gain)
    y = branch(x.index_select(0, kept.rows), kept.layout)
    y = y if gain is None else y * gain
    return x.index_add(0, kept.rows, y.to(x.dtype), alpha=kept.weight)


class PatchDropout(nn.Module):
    """In training, keeps a random share ``1 - rate`` of each image's patches, at least one (Li et al., 2022, "FLIP";
    Liu et al., 2022). Raises ValueError unless ``0 <= rate < 1``.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"patch_dropout is {rate}; it must be at least 0 and below 1.")
        self.rate = rate

    def forward(
        self, patches: Float[Tensor, "batch patches features"], grid: tuple[int, int]
    ) -> Int[Tensor, "batch kept"] | None:
        """Indices of the patches to keep, drawn on the device; None keeps all. Patches lie row by row on ``grid``."""
        if not self.training or self.rate == 0:
            return None
        batch, count = patches.shape[:2]
        return _some(batch, count, self.rate, patches.device)


class Patchout(PatchDropout):
    """In training, leaves out whole columns (moments) and whole rows (bands of frequency) of a spectrogram's patches,
    and of those that are left a share at random (Koutini et al., 2021, "PaSST", structured and unstructured).

    ``time`` and ``frequency`` are the shares of columns and rows left out, ``rate`` that of the patches left; at least
    one of each stays. Each clip draws its own. Raises ValueError unless all are at least 0 and below 1.
    """

    def __init__(self, time: float = 0.0, frequency: float = 0.0, rate: float = 0.0) -> None:
        super().__init__(rate)
        for name, share in (("time", time), ("frequency", frequency)):
            if not 0 <= share < 1:
                raise ValueError(f"patchout.{name} is {share}; it must be at least 0 and below 1.")
        self.time, self.frequency = time, frequency

    def forward(
        self, patches: Float[Tensor, "batch patches features"], grid: tuple[int, int]
    ) -> Int[Tensor, "batch kept"] | None:
        """Indices of the patches to keep, drawn on the device; None keeps all."""
        if not self.training or not (self.time or self.frequency):
            return super().forward(patches, grid)
        batch, device = len(patches), patches.device
        rows, columns = (
            _some(batch, count, share, device) for count, share in zip(grid, (self.frequency, self.time), strict=True)
        )
        left = (rows[:, :, None] * grid[1] + columns[:, None, :]).flatten(1)
        return left.gather(1, _some(batch, left.shape[1], self.rate, device)) if self.rate else left


def _some(batch: int, count: int, rate: float, device: torch.device) -> Int[Tensor, "batch kept"]:
    """For each of ``batch``, a share ``1 - rate`` of the numbers below ``count``, at least one."""
    kept = max(1, round(count * (1 - rate)))
    return torch.rand(batch, count, device=device).argsort(1)[:, :kept]
