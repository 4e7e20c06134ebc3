"""What a data set of pictures with captions is: a source whose label is the concept that a picture shows."""

import logging
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from triptych.data.captions import Caption, Fields
from triptych.data.labels import class_name, is_empty
from triptych.data.source import BadSample, Picture, SourceFactory
from triptych.data.split import SPLIT_NAMES, held_out
from triptych.errors import UserError

log = logging.getLogger("triptych.data")

LOOKED_AT = 100
"""Samples that are looked at before training, so that a wrong setting is told at once and not sample by sample."""


@runtime_checkable
class PairSource(Protocol):
    """Pictures with captions. Like every source it is copied to loader workers.

    Attributes:
        classes: names of the concepts; none where every picture is a concept of its own.
        multilabel: False.
        ids: int64 `(samples,)`, the concept of each sample; samples of one concept are positives of each other.
        places: int64 `(samples,)`, the shard of each sample where shards are fetched one by one, else None.
        shards_at_once: of those, how many are mixed at a time.
    """

    @property
    def classes(self) -> list[str]: ...

    @property
    def multilabel(self) -> bool: ...

    @property
    def ids(self) -> np.ndarray: ...

    @property
    def places(self) -> np.ndarray | None: ...

    @property
    def shards_at_once(self) -> int: ...

    def __len__(self) -> int: ...

    def read(self, index: int) -> tuple[Picture, int | Tensor]:
        """Image, uint8 `(channels, height, width)` or PIL, and concept of sample `index`.

        Raises:
            BadSample: this one sample cannot be read.
        """
        ...

    def name(self, index: int) -> str:
        """Where sample `index` lies, for messages."""
        ...

    def draw_caption(self, index: int, generator: torch.Generator) -> str:
        """A caption of sample `index` for training, a function of the generator's seed; BadSample where it has none."""
        ...

    def captions(self, index: int) -> list[str]:
        """All captions of sample `index`, for evaluation; BadSample where it has none."""
        ...

    def corpus(self, index: int) -> list[str]:
        """Texts with every word that captions of sample `index` may have; BadSample where it cannot be read."""
        ...


def concepts(names: Sequence[Any] | None, size: int) -> tuple[list[str], np.ndarray]:
    """Concept names in the order of the alphabet, and the concept of each sample.

    Args:
        names: of each sample's concept; a sample whose name is empty is a concept of its own, without a name. None:
            every sample is.
        size: samples.
    """
    if names is None:
        return [], np.arange(size, dtype=np.int64)
    named = np.array([not is_empty(name) for name in names], dtype=bool)
    known, places = np.unique(
        np.array([class_name(name) for name in names if not is_empty(name)], dtype=str), return_inverse=True
    )
    ids = np.empty(size, dtype=np.int64)
    ids[named] = places
    ids[~named] = len(known) + np.arange(size - len(places))
    return known.tolist(), ids


def check_captions(title: str, caption: Caption, samples: Sequence[Fields]) -> None:
    """Tells a wrong field before training: of the first samples, one at least must have a caption.

    Raises:
        UserError: none of them has.
    """
    reason = ""
    for fields in samples[:LOOKED_AT]:
        try:
            caption.all(fields)
        except BadSample as error:
            reason = reason or str(error)
            continue
        return
    raise UserError(f"{title}: none of the first {len(samples[:LOOKED_AT])} samples has a caption ({reason})")


def part_of_split(
    title: str,
    splits: Sequence[str | None] | None,
    split: str,
    apart: bool,
    fraction: float | int,
    groups: Sequence[Any],
) -> np.ndarray:
    """Rows of a split, int64, where a table or a set says which they are, or else a fixed part of its training rows.

    Args:
        title: the table, for messages.
        splits: of each row; None where no column says it.
        split: to read.
        apart: another file has the other split, so all rows are this one's.
        fraction: of the groups, to hold back where there is nothing for validation.
        groups: name of each row's group, an empty one for a group of its own. One group is never on both sides.

    Raises:
        UserError: there is no row for the split.
    """
    every = np.arange(len(groups))
    if splits is None and apart:
        return every
    named = {} if splits is None else {part: every[[each == part for each in splits]] for part in SPLIT_NAMES}
    if len(named.get(split, ())) and (split == "test" or len(named["validation"])):
        return named[split]
    training = named.get("train", every)
    if split == "test" or not len(training):
        has = {part: len(rows) for part, rows in named.items() if len(rows)}
        rest = f"its column of splits names {has}" if splits is not None else "it has no column of splits"
        raise UserError(f"{title} has no rows for the split {split!r}: {rest}")
    names = [f"\0{row}" if is_empty(groups[row]) else str(groups[row]) for row in training]
    known, group = np.unique(np.array(names, dtype=str), return_inverse=True)
    held = held_out(len(known), "", fraction)[group] == (split == "validation")
    log.info(
        "%s names no rows for validation: %d rows (%g of them, always the same ones) are the %s split",
        title,
        held.sum(),
        fraction if split == "validation" else 1 - fraction,
        split,
    )
    if not held.any():
        raise UserError(f"{title} has too few rows ({len(training)}) to hold some back for validation")
    return training[held]


def pairs_of(make: SourceFactory) -> PairSource:
    """What a factory makes, which must have captions; UserError where it has none."""
    source = make()
    if not isinstance(source, PairSource):
        raise UserError(
            f"{type(source).__name__} has no captions: data with captions are read by shard_pairs, table_pairs, "
            "dataset_pairs or a mixture of these"
        )
    return source
