"""What a tokenizer is: texts to rows of ids, and a plain description that travels with a checkpoint."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


class Tokens(NamedTuple):
    """``ids``: int64 ``(batch, context_length)``, padding at the end; ``lengths``: int64 ``(batch,)``, the real tokens
    of each row, start and end included.
    """

    ids: Int[Tensor, "batch tokens"]
    lengths: Int[Tensor, " batch"]


@runtime_checkable
class Tokenizer(Protocol):
    """Texts to ids. ``config`` is plain data from which `triptych.build.build` makes the same tokenizer again."""

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        ...

    @property
    def context_length(self) -> int:
        """Tokens of a row."""
        ...

    @property
    def end_token(self) -> int | None:
        """The id that ends each text, None where there is none."""
        ...

    @property
    def config(self) -> dict[str, Any]:
        """A plain description: ``_target_`` and its arguments."""
        ...

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """One row for each text; a longer one is cut, its end token kept."""
        ...


def rows_of(sequences: Iterable[Sequence[int]], context_length: int, start: int | None, end: int, pad: int) -> Tokens:
    """Rows from the ids between start and end of each text: see `ended_rows`."""
    given = list(sequences)
    sizes = np.fromiter(map(len, given), np.int64, len(given))
    flat = np.fromiter(chain.from_iterable(given), np.int64, int(sizes.sum()))
    return ended_rows(flat, sizes, context_length, (start, end, pad))


def ended_rows(
    flat: np.ndarray, sizes: np.ndarray, context_length: int, special: tuple[int | None, int, int]
) -> Tokens:
    """Rows of ``context_length`` ids from those of all texts end to end, ``sizes`` of each: start (where there is one),
    the text, end, padding. A text that is too long is cut, its end kept.

    A text ends with its first end token, also where it spells one itself, for there CLIP reads it.
    """
    start, end, pad = special
    first = int(start is not None)
    kept = np.minimum(sizes, context_length - first - 1)
    rows = np.full((len(sizes), context_length), pad, np.int64)
    if start is not None:
        rows[:, 0] = start
    places = np.arange(len(flat)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    within = places < context_length - first - 1
    columns = np.arange(context_length - first) < kept[:, None]
    rows[:, first:][columns] = flat[within]
    rows[np.arange(len(sizes)), first + kept] = end
    return Tokens(torch.from_numpy(rows), torch.from_numpy((rows == end).argmax(1) + 1))
