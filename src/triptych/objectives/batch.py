"""Batches of samples, and their parts."""

from collections.abc import Iterator
from typing import Any

from triptych.features.uneven import Uneven

Batch = dict[str, Any]
"""Tensors with a first axis of samples, and `Uneven` where samples have their own sizes."""


def size_of(batch: Batch) -> int:
    """Samples of a batch."""
    return len(next(iter(batch.values())))


def split(batch: Batch, size: int) -> Iterator[Batch]:
    """Consecutive micro-batches of at most `size` samples, and as samples of their own sizes say."""
    count = size_of(batch)
    uneven = next((value for value in batch.values() if isinstance(value, Uneven)), None)
    runs = [slice(start, start + size) for start in range(0, count, size)] if uneven is None else uneven.cuts(size)
    for run in runs:
        yield {key: value[run] for key, value in batch.items()}
