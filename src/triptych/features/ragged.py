"""A batch of samples that each have their own length."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Self, overload

import torch
from jaxtyping import Shaped
from torch import Tensor

from triptych.features.uneven import Uneven


class Ragged(Uneven):
    """Samples ``(length, ...)`` of differing lengths end to end in one tensor ``rows``, so that a batch is one
    transfer: a sample is a view of it, and so is a run of neighbours.

    An index gives a sample; a slice or a list of indices gives those samples as a batch. ``max_batch_rows`` bounds the
    rows that one device holds at a time in training: micro-batches are cut by it.

    Raises ValueError for a length below 1, and where the lengths do not add up to the rows.
    """

    def __init__(
        self, rows: Shaped[Tensor, "total ..."], lengths: Sequence[int], max_batch_rows: int | None = None
    ) -> None:
        self.rows = rows
        self.max_batch_rows = max_batch_rows
        self.lengths: tuple[int, ...] = tuple(lengths)
        if self.lengths and min(self.lengths) < 1:
            raise ValueError(f"the lengths are {list(self.lengths)}; each must be at least 1")
        self._starts = [0]
        for length in self.lengths:
            self._starts.append(self._starts[-1] + length)
        if self._starts[-1] != len(rows):
            raise ValueError(f"the lengths add up to {self._starts[-1]}, and there are {len(rows)}")

    @abstractmethod
    def _like(self, rows: Tensor, lengths: Sequence[int]) -> Self:
        """A batch of other samples of the same kind."""

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice | list[int]) -> Self: ...
    def __getitem__(self, index: int | slice | list[int]) -> Tensor | Self:
        if isinstance(index, int):
            place = range(len(self))[index]
            return self.rows[self._starts[place] : self._starts[place + 1]]
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                stop = max(start, stop)
                return self._like(self.rows[self._starts[start] : self._starts[stop]], self.lengths[start:stop])
            index = list(range(start, stop, step))
        parts = [self[place] for place in index]
        return self._like(torch.cat(parts) if parts else self.rows[:0], [len(part) for part in parts])

    def __iter__(self) -> Iterator[Tensor]:
        return (self[place] for place in range(len(self)))

    @property
    def device(self) -> torch.device:
        """Where the samples are."""
        return self.rows.device

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The batch on a device."""
        return self._like(self.rows.to(device, non_blocking=non_blocking), self.lengths)

    def type_as(self, dtype: torch.dtype) -> Self:
        """The same samples as numbers of another type."""
        return self._like(self.rows.to(dtype), self.lengths)

    def pin_memory(self) -> Self:
        """The batch in memory that a GPU copies from by itself."""
        return self._like(self.rows.pin_memory(), self.lengths)

    def clone(self) -> Self:
        """The batch in memory of its own."""
        return self._like(self.rows.clone(), self.lengths)

    def cuts(self, most: int | None = None) -> list[slice]:
        """Runs of neighbours, each of at most ``most`` samples and of no more rows than ``max_batch_rows``. A sample is
        never cut: one that has more alone is a run of its own.
        """
        runs: list[slice] = []
        start, held = 0, 0
        for place, length in enumerate(self.lengths):
            held += length
            full = self.max_batch_rows is not None and held > self.max_batch_rows
            if place > start and (full or (most and place - start >= most)):
                runs.append(slice(start, place))
                start, held = place, length
        return [*runs, slice(start, len(self))] if len(self) else []
