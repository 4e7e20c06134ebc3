"""Several sources of pairs as one, each with its share of every epoch."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from triptych.data.pair_source import PairSource, pairs_of
from triptych.data.pairs_order import Share
from triptych.data.source import Picture, SourceFactory, with_root
from triptych.errors import UserError


class Mixture:
    """Sources one after the other. Concepts of one name are one concept, whichever source has them.

    Args:
        sources: makes each, by a name of the user's choice.
        weights: share of an epoch of each, relative to the others; None: every sample of every source once.
        root: folder of the data, for sources that are given none of their own.

    Raises:
        UserError: no source, weights that are not of these sources, or what the sources themselves raise.
    """

    multilabel = False
    places = None
    shards_at_once = 1

    def __init__(
        self,
        sources: Mapping[str, SourceFactory],
        weights: Mapping[str, float | int] | None = None,
        root: str | None = None,
    ) -> None:
        if not sources:
            raise UserError("data.train.sources is empty: name at least one source")
        if weights is not None and set(weights) != set(sources):
            raise UserError(
                f"data.train.weights names {', '.join(sorted(weights)) or 'nothing'}, and the sources are "
                f"{', '.join(sorted(sources))}: give each source its weight, or none"
            )
        self.names = list(sources)
        self.sources = [pairs_of(with_root(root, make)) for make in sources.values()]
        sizes = [len(source) for source in self.sources]
        shares = sizes if weights is None else [weights[name] for name in self.names]
        self.shares = [
            Share(size, weight, source.places, source.shards_at_once)
            for size, weight, source in zip(sizes, shares, self.sources, strict=True)
        ]
        self._starts = np.cumsum([0, *sizes])
        self.classes, self.ids = _joined(self.sources)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def name(self, index: int) -> str:
        """Name of the source, and the one that the source itself gives."""
        source, place = self._find(index)
        return f"{self.names[source]}: {self.sources[source].name(place)}"

    def read(self, index: int) -> tuple[Picture, int | Tensor]:
        """Image, and concept in the list of all sources' concepts."""
        source, place = self._find(index)
        return self.sources[source].read(place)[0], int(self.ids[index])

    def draw_caption(self, index: int, generator: torch.Generator) -> str:
        """A caption of sample `index` for training."""
        source, place = self._find(index)
        return self.sources[source].draw_caption(place, generator)

    def captions(self, index: int) -> list[str]:
        """All captions of sample `index`."""
        source, place = self._find(index)
        return self.sources[source].captions(place)

    def corpus(self, index: int) -> list[str]:
        """Texts with every word that captions of sample `index` may have."""
        source, place = self._find(index)
        return self.sources[source].corpus(place)

    def _find(self, index: int) -> tuple[int, int]:
        source = int(np.searchsorted(self._starts, index, side="right")) - 1
        return source, index - int(self._starts[source])


def shares_of(source: PairSource) -> list[Share]:
    """The parts that training draws from: those of a mixture, or the source itself."""
    if isinstance(source, Mixture):
        return source.shares
    return [Share(len(source), 1.0, source.places, source.shards_at_once)]


def _joined(sources: list[PairSource]) -> tuple[list[str], np.ndarray]:
    """Names of all concepts, and the concept of each sample; those without a name come after."""
    classes = sorted({name for source in sources for name in source.classes})
    place = {name: number for number, name in enumerate(classes)}
    ids, following = [], len(classes)
    for source in sources:
        named = np.array([place[name] for name in source.classes], dtype=np.int64)
        without = int(source.ids.max(initial=-1)) + 1 - len(named)
        table = np.concatenate((named, following + np.arange(max(without, 0))))
        following += max(without, 0)
        ids.append(table[source.ids])
    return classes, np.concatenate(ids)
