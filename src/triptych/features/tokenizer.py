"""What a tokenizer is: texts to rows of ids, and a plain description that travels with a checkpoint."""

from collections.abc import Iterable, Sequence
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


def rows_of(sequences: Iterable[Sequence[int]], context_length: int, pad: int, end: int | None) -> Tokens:
    """Rows of ``context_length`` ids, padded by ``pad``; a longer sequence is cut, and ends with ``end`` all the same
    (None: it is simply cut). A text ends with its first ``end``, also where the text itself spells one, for there CLIP
    reads it.
    """
    cut = []
    for ids in sequences:
        if len(ids) > context_length:
            ids = [*ids[:context_length]] if end is None else [*ids[: context_length - 1], end]
        cut.append(ids)
    lengths = np.fromiter(map(len, cut), np.int64, len(cut))
    rows = np.full((len(cut), context_length), pad, np.int64)
    flat = np.fromiter((i for ids in cut for i in ids), np.int64, int(lengths.sum()))
    rows[np.arange(context_length) < lengths[:, None]] = flat
    if end is not None:
        lengths = (rows == end).argmax(1) + 1
    return Tokens(torch.from_numpy(rows), torch.from_numpy(lengths))
