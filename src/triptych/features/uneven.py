"""Batches whose samples differ in size: images of mixed sizes, clips of any length."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self, overload

import torch
from torch import Tensor


class Uneven(Sequence[Tensor], ABC):
    """Samples of differing sizes in one tensor, so that a batch is one transfer. An index gives a sample; a slice or a
    list of indices gives those samples as a batch of the same kind.
    """

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice | list[int]) -> Self: ...
    @abstractmethod
    def __getitem__(self, index: int | slice | list[int]) -> Tensor | Self: ...

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the samples are."""

    @abstractmethod
    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The batch on a device."""

    @abstractmethod
    def type_as(self, dtype: torch.dtype) -> Self:
        """The same samples as numbers of another type."""

    @abstractmethod
    def pin_memory(self) -> Self:
        """The batch in memory that a GPU copies from by itself."""

    @abstractmethod
    def clone(self) -> Self:
        """The batch in memory of its own."""

    @abstractmethod
    def blank(self) -> Self:
        """One sample without content."""

    @abstractmethod
    def cuts(self, most: int | None = None) -> list[slice]:
        """Runs of neighbours, each of at most ``most`` samples: the micro-batches. A sample is never cut."""
