"""Where the sequences of a batch lie: the only mask in the system.

A batch of token sequences comes in one of two routes. *Padded*: ``(batch, tokens, dim)``, where each row may end in
padding. *Packed*: ``(total, dim)``, the real tokens of all sequences end to end. The layout is built once for each
batch and passed down unchanged, so that a mixer needs no mask of its own; both routes give the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class Rotary(NamedTuple):
    """Cosines and sines of the rotation angles: ``(tokens, pairs)`` for all samples alike, ``(batch, tokens, pairs)``
    for each sample its own, and ``(total, pairs)`` in a packed layout.
    """

    cos: Tensor
    sin: Tensor

    def map(self, function) -> "Rotary":
        """The same function over both tables."""
        return Rotary(function(self.cos), function(self.sin))


class LengthGroup(NamedTuple):
    """Sequences of one length in a packed batch: their tokens are ``rows`` (``count * length`` of them)."""

    length: int
    rows: Int[Tensor, " tokens"]


# Sequences as long as this are cheaper to attend to one by one, where they lie, than to bring next to their equals.
LONG = 32


@dataclass(frozen=True, eq=False)
class SequenceLayout:
    """Lengths, route and direction of a batch of sequences. Build it with `dense`, `padded` or `packed_from`.

    ``sizes`` are the lengths on the host, or None when every sequence has ``max_length`` tokens. ``prefix`` counts the
    leading tokens of each sequence that carry no content (class token, registers): means leave them out.
    """

    batch: int
    max_length: int
    device: torch.device
    sizes: tuple[int, ...] | None = None
    causal: bool = False
    packed: bool = False
    prefix: int = 0
    rotary: Rotary | None = None
    lengths: Tensor | None = None
    cu_seqlens: Tensor | None = None
    key_mask: Tensor | None = None
    groups: tuple[LengthGroup, ...] = ()
    order: Tensor | None = None
    ungroup: Tensor | None = None

    @classmethod
    def dense(
        cls, batch: int, tokens: int, causal: bool = False, prefix: int = 0, device: torch.device | str = "cpu"
    ) -> "SequenceLayout":
        """``batch`` sequences of ``tokens`` tokens each, no padding."""
        return cls(batch, tokens, torch.device(device), causal=causal, prefix=prefix)

    @classmethod
    def padded(
        cls,
        lengths: Sequence[int] | Tensor,
        tokens: int,
        causal: bool = False,
        prefix: int = 0,
        device: torch.device | str | None = None,
    ) -> "SequenceLayout":
        """Rows of ``tokens`` tokens of which the first ``lengths[i]`` are real; the rest is padding.

        Raises ValueError where a length is below 1 or above ``tokens``.
        """
        sizes, place = _host_sizes(lengths, device)
        if max(sizes) > tokens:
            raise ValueError(f"A sequence has {max(sizes)} tokens, but the padded rows have room for only {tokens}.")
        if min(sizes) == tokens:
            return cls.dense(len(sizes), tokens, causal, prefix, place)
        on_device = torch.tensor(sizes, device=place)
        mask = torch.arange(tokens, device=place) < on_device[:, None]
        return cls(
            len(sizes), tokens, place, sizes, causal, prefix=prefix, lengths=on_device,
            cu_seqlens=_cumulative(sizes, place), key_mask=mask,
        )  # fmt: skip

    @classmethod
    def packed_from(
        cls,
        lengths: Sequence[int] | Tensor,
        causal: bool = False,
        prefix: int = 0,
        device: torch.device | str | None = None,
    ) -> "SequenceLayout":
        """Sequences of the given lengths laid end to end, without padding. Raises ValueError where a length is below
        1.
        """
        sizes, place = _host_sizes(lengths, device)
        cumulative = _cumulative(sizes, place)
        if min(sizes) == max(sizes):
            return cls(len(sizes), sizes[0], place, None, causal, True, prefix, cu_seqlens=cumulative)
        groups, order, ungroup = _group(sizes, place)
        return cls(
            len(sizes), max(sizes), place, sizes, causal, True, prefix, None,
            torch.tensor(sizes, device=place), cumulative, None, groups, order, ungroup,
        )  # fmt: skip

    @property
    def host_sizes(self) -> tuple[int, ...]:
        """The length of every sequence, on the host."""
        return self.sizes or (self.max_length,) * self.batch

    @property
    def total(self) -> int:
        """How many real tokens there are."""
        return sum(self.host_sizes)

    def with_rotary(self, rotary: Rotary | None) -> "SequenceLayout":
        """The same layout with these rotation tables."""
        return replace(self, rotary=rotary)

    def to_packed(self) -> "SequenceLayout":
        """The packed layout of the same sequences, rotation tables included."""
        if self.packed:
            return self
        other = SequenceLayout.packed_from(self.host_sizes, self.causal, self.prefix, self.device)
        if self.rotary is None:
            return other
        return other.with_rotary(
            self.rotary.map(lambda t: self.pack(t if t.ndim == 3 else t.expand(self.batch, *t.shape)))
        )

    def to_padded(self) -> "SequenceLayout":
        """The padded layout of the same sequences, rotation tables included."""
        if not self.packed:
            return self
        other = SequenceLayout.padded(self.host_sizes, self.max_length, self.causal, self.prefix, self.device)
        return other.with_rotary(None if self.rotary is None else self.rotary.map(self.unpack))

    def pack(self, x: Tensor) -> Tensor:
        """Padded ``(batch, tokens, ...)`` to packed ``(total, ...)``: padding goes, order stays."""
        if self.sizes is None:
            return x.flatten(0, 1)
        return x.flatten(0, 1).index_select(0, self._padded_rows())

    def unpack(self, x: Tensor) -> Tensor:
        """Packed ``(total, ...)`` to padded ``(batch, max_length, ...)``, zeros in the padding."""
        if self.sizes is None:
            return x.unflatten(0, (self.batch, self.max_length))
        empty = x.new_zeros(self.batch * self.max_length, *x.shape[1:])
        return empty.index_copy(0, self._padded_rows(), x).unflatten(0, (self.batch, self.max_length))

    def real_tokens(self) -> Bool[Tensor, "batch tokens"]:
        """True where a padded row of ``max_length`` holds a real token."""
        if self.lengths is None:
            return torch.ones(self.batch, self.max_length, dtype=torch.bool, device=self.device)
        return torch.arange(self.max_length, device=self.device) < self.lengths[:, None]

    def owners(self) -> Int[Tensor, " total"]:
        """Which sequence each packed token belongs to."""
        lengths = torch.tensor(self.host_sizes, device=self.device)
        return torch.arange(self.batch, device=self.device).repeat_interleave(lengths, output_size=self.total)

    def places(self) -> Int[Tensor, " total"]:
        """The place of each packed token in its own sequence, from 0."""
        starts = _cumulative(self.host_sizes, self.device)[:-1].long()
        return torch.arange(self.total, device=self.device) - starts[self.owners()]

    def rows_of(self, indices: Sequence[int]) -> list[int]:
        """First-dimension rows of a tensor in this layout that belong to the samples ``indices``."""
        if not self.packed:
            return list(indices)
        starts = [0]
        for size in self.host_sizes:
            starts.append(starts[-1] + size)
        return [row for i in indices for row in range(starts[i], starts[i + 1])]

    def select(self, indices: Sequence[int] | Int[Tensor, " kept"]) -> "SequenceLayout":
        """The layout of a subset of the samples, in the order given. Host indices cost no wait for the device."""
        chosen = indices.tolist() if isinstance(indices, Tensor) else list(indices)
        if self.packed or self.sizes is not None:
            sizes = [self.host_sizes[i] for i in chosen]
            if self.packed:
                smaller = SequenceLayout.packed_from(sizes, self.causal, self.prefix, self.device)
            else:
                smaller = SequenceLayout.padded(sizes, self.max_length, self.causal, self.prefix, self.device)
        else:
            smaller = replace(self, batch=len(chosen))
        if self.rotary is None or (not self.packed and self.rotary.cos.ndim == 2):
            return smaller.with_rotary(self.rotary)
        rows = torch.tensor(self.rows_of(chosen), device=self.device)
        return smaller.with_rotary(self.rotary.map(lambda t: t.index_select(0, rows)))

    def _padded_rows(self) -> Int[Tensor, " total"]:
        """Rows of the real tokens in a flattened padded tensor."""
        return self.owners() * self.max_length + self.places()


def _host_sizes(
    lengths: Sequence[int] | Tensor, device: torch.device | str | None
) -> tuple[tuple[int, ...], torch.device]:
    place = torch.device(device if device is not None else lengths.device if isinstance(lengths, Tensor) else "cpu")
    sizes = tuple(int(n) for n in (lengths.tolist() if isinstance(lengths, Tensor) else lengths))
    if not sizes or min(sizes) < 1:
        raise ValueError(
            f"Every sequence needs at least one token, and a batch one sequence; the lengths are {list(sizes)}."
        )
    return sizes, place


def _cumulative(sizes: Sequence[int], device: torch.device) -> Int[Tensor, " starts"]:
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + size)
    return torch.tensor(ends, dtype=torch.int32, device=device)


def _group(sizes: Sequence[int], device: torch.device) -> tuple[tuple[LengthGroup, ...], Tensor | None, Tensor | None]:
    """Groups of equal length, the order of rows that brings each group together, and its inverse.

    Both orders are None where every group lies together already, as neighbours of one length and long sequences do.
    """
    members: dict[tuple[int, int], list[int]] = {}
    start = run = 0
    apart = sum(sizes) >= LONG * len(sizes)
    for place, size in enumerate(sizes):
        run += place > 0 and size != sizes[place - 1]
        members.setdefault((size, run if apart else 0), []).extend(range(start, start + size))
        start += size
    groups = tuple(LengthGroup(size, torch.tensor(rows, device=device)) for (size, _), rows in members.items())
    order = torch.tensor([row for rows in members.values() for row in rows])
    if torch.equal(order, torch.arange(len(order))):
        return groups, None, None
    return groups, order.to(device), order.argsort().to(device)
