"""Where the pieces of a tensor lie that several processes hold: boxes of the whole in boxes of what is here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.utils.weak import WeakTensorKeyDictionary


@dataclass(frozen=True)
class Cut:
    """Which rows or columns of a tensor its tensor-parallel peer holds.

    Args:
        dim: that is cut.
        size: of the whole along it.
        ranges: of the whole, (start, stop) each, in the order in which they lie here.
    """

    dim: int
    size: int
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Piece:
    """A box of the whole, and where it lies in what is here: both by their lowest corner."""

    here: tuple[int, ...]
    there: tuple[int, ...]
    sizes: tuple[int, ...]

    def of_local(self, local: Tensor) -> Tensor:
        """The view of it in what is here."""
        return local[_box(self.here, self.sizes)]

    def of_whole(self, whole: Any) -> Any:
        """The view of it in the whole."""
        return whole[_box(self.there, self.sizes)]


@dataclass(frozen=True)
class Layout:
    """How a tensor of `shape` lies over processes: the pieces that are here.

    Args:
        shape: of the whole.
        local_shape: of what is here.
        pieces: that fill what is here; those of all processes fill the whole.
        writes: whether this process is the one among those with the same pieces that saves them.
    """

    shape: tuple[int, ...]
    local_shape: tuple[int, ...]
    pieces: tuple[Piece, ...]
    writes: bool = True

    def local_of(self, whole: Tensor, like: Tensor) -> Tensor:
        """What is here, cut out of the whole, on the device and in the type of `like`."""
        local = torch.empty(self.local_shape, dtype=like.dtype, device=like.device)
        for piece in self.pieces:
            piece.of_local(local).copy_(piece.of_whole(whole))
        return local


@dataclass(frozen=True)
class Part:
    """What this process holds of a tensor, as a checkpoint keeps it."""

    local: Tensor
    layout: Layout


def local(tensor: Tensor) -> Tensor:
    """The plain tensor with what is here of it; shares its memory."""
    return tensor._local_tensor if isinstance(tensor, DTensor) else tensor


def layout_of(tensor: Tensor, cut: Cut | None, writes: bool = True) -> Layout:
    """The layout of a parameter that FSDP may have sharded (by its first dimension), after tensor parallelism cut it.

    Args:
        tensor: the parameter as it is here, a DTensor or a plain one.
        cut: how tensor parallelism cut it; None where it did not.
        writes: see `Layout`.
    """
    sizes, offsets = tuple(tensor.shape), (0,) * tensor.ndim
    if isinstance(tensor, DTensor):
        found = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
        sizes, offsets = (tuple(each) for each in found)
    shape = list(tensor.shape)
    if cut is None:
        return Layout(tuple(shape), sizes, (Piece((0,) * len(shape), offsets, sizes),) if _some(sizes) else (), writes)
    shape[cut.dim] = cut.size
    pieces, at = [], 0
    low, high = offsets[cut.dim], offsets[cut.dim] + sizes[cut.dim]
    for start, stop in cut.ranges:
        # This range lies at (at, at + stop - start) before sharding, of which (low, high) is here.
        first, last = max(low, at), min(high, at + stop - start)
        if first < last:
            here, there, size = [0] * len(shape), list(offsets), list(sizes)
            here[cut.dim], there[cut.dim], size[cut.dim] = first - low, start + first - at, last - first
            if _some(size):
                pieces.append(Piece(tuple(here), tuple(there), tuple(size)))
        at += stop - start
    return Layout(tuple(shape), sizes, tuple(pieces), writes)


def _some(sizes: Sequence[int]) -> bool:
    return all(size > 0 for size in sizes)


def _box(start: Sequence[int], sizes: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(begin, begin + size) for begin, size in zip(start, sizes, strict=True))


LAYOUTS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""How each parameter lies that this process holds a part of, by the parameter; and who the others are."""


@dataclass(frozen=True)
class Spread:
    """How one parameter lies: what is here, and what each process of the group has that holds one model."""

    own: Layout
    peers: list[Layout]
    group: dist.ProcessGroup


def gather_whole(parameters: Sequence[Tensor], here: Sequence[Tensor]) -> list[Tensor]:
    """The whole of tensors that lie as their parameters do, in one exchange; all processes must ask.

    Args:
        parameters: whose layouts are known (`LAYOUTS`).
        here: what this process has for each of them, of one type and device.
    """
    spreads = [LAYOUTS[parameter] for parameter in parameters]
    group = spreads[0].group
    counts = [sum(math.prod(spread.peers[peer].local_shape) for spread in spreads) for peer in range(group.size())]
    padded = here[0].new_zeros(max(counts))
    padded[: counts[group.rank()]] = torch.cat([each.flatten() for each in here])
    everyone = padded.new_empty(group.size() * len(padded))
    dist.all_gather_into_tensor(everyone, padded, group)
    found = [here[0].new_empty(spread.own.shape) for spread in spreads]
    for peer, row in enumerate(everyone.unflatten(0, (group.size(), -1))):
        start = 0
        for spread, whole in zip(spreads, found, strict=True):
            layout = spread.peers[peer]
            stop = start + math.prod(layout.local_shape)
            theirs = row[start:stop].view(layout.local_shape)
            for piece in layout.pieces:
                piece.of_whole(whole).copy_(piece.of_local(theirs))
            start = stop
    return found
