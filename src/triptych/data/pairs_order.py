"""Which samples make up a step where sources are mixed, shards are fetched, or a batch has each concept once.

As `Order` it is a pure function of (seed, epoch, step).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from triptych.data.order import Order, mixed_seed
from triptych.errors import UserError


@dataclass(frozen=True)
class Share:
    """One source's part of the training samples.

    Attributes:
        size: its samples.
        weight: its share of an epoch, relative to those of others.
        places: int64 `(size,)`, the shard of each sample where shards are read one by one; None: all are mixed.
        shards_at_once: of those, how many are mixed at a time.
    """

    size: int
    weight: float | int
    places: np.ndarray | None = None
    shards_at_once: int = 1


class PairsOrder(Order):
    """The samples of every step, drawn from one or more sources.

    Each source is an endless stream: pass after pass, every sample once a pass, each pass in an order of its own. An
    epoch takes from each stream as many samples as its weight gives, going on where the last epoch stopped, so that
    no sample comes twice before all have come once, whatever the weights.

    Samples are numbered over all sources, one after the other; a second visit in an epoch is captioned anew too.

    Args:
        shares: the sources.
        batch_size: global batch.
        samples: of an epoch; None: as many as all sources have.
        ids: int64 `(total,)`, the concept of each sample: a batch has each concept once. None: as it comes.
        seed: of the shuffle.
        classes: names of concepts, for messages.

    Raises:
        UserError: a number below 1, a weight that is not above 0, or a concept with more samples than an epoch has
            batches.
    """

    def __init__(
        self,
        shares: Sequence[Share],
        batch_size: int,
        samples: int | None = None,
        ids: np.ndarray | None = None,
        seed: int = 0,
        classes: Sequence[str] = (),
    ) -> None:
        for share in shares:
            if not share.weight > 0:
                raise UserError(f"a source has the weight {share.weight:g}; it must be above 0: leave the source out")
        total = sum(share.size for share in shares)
        if samples is not None and samples < 1:
            raise UserError(f"data.samples is {samples}; an epoch needs at least 1")
        super().__init__(total if samples is None else samples, batch_size, seed)
        self.total = total
        self.shares = list(shares)
        self.counts = apportioned([share.weight for share in shares], self.size)
        self._starts = np.cumsum([0, *(share.size for share in shares)])
        self._ids = ids
        self._classes = classes
        self._streams: dict[tuple[int, int], np.ndarray] = {}
        if ids is not None and any(share.places is not None for share in shares):
            raise UserError(
                "data.distinct=true mixes all samples, and shards behind a URL are read one after the other: set "
                "data.distinct=false or copy the shards to a local folder"
            )
        if ids is not None:
            self.permutation(0)

    def permutation(self, epoch: int) -> Int64[np.ndarray, " size"]:
        """Numbers of the samples in the order in which `epoch` visits them; the last one asked for is kept."""
        if epoch != self._epoch:
            # Which source each place of the epoch takes from; each stream is shuffled by itself.
            kinds = np.repeat(np.arange(len(self.shares)), self.counts)
            visits = np.empty(self.size, dtype=np.int64)
            mixed = kinds[_shuffled(self.size, self.seed, epoch, -1)] if len(self.shares) > 1 else kinds
            for source, count in enumerate(self.counts):
                visits[mixed == source] = self._slice(source, epoch * count, count)
            self._permutation = visits if self._ids is None else self._distinct(visits, epoch)
            self._epoch = epoch
        return self._permutation

    def _slice(self, source: int, start: int, count: int) -> np.ndarray:
        """`count` samples of a source's stream from `start` on."""
        size = self.shares[source].size
        first, parts = start // size, []
        position = start
        while position < start + count:
            turn, place = divmod(position, size)
            part = self._stream(source, turn)[place : place + start + count - position]
            parts.append(part + self._starts[source] + self.total * (turn - first))
            position += len(part)
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def _stream(self, source: int, turn: int) -> np.ndarray:
        """One pass over a source; the last two asked for are kept, for an epoch may begin in the midst of one."""
        if (source, turn) not in self._streams:
            for key in [key for key in self._streams if key[0] == source and key[1] < turn - 1]:
                del self._streams[key]
            self._streams[source, turn] = self._pass(source, turn)
        return self._streams[source, turn]

    def _pass(self, source: int, turn: int) -> np.ndarray:
        share = self.shares[source]
        if share.places is None:
            return _shuffled(share.size, self.seed, turn, source)
        shards, place = np.unique(share.places, return_inverse=True)
        rank = np.empty(len(shards), dtype=np.int64)
        rank[_shuffled(len(shards), self.seed, turn, source, 1)] = np.arange(len(shards))
        words = np.random.PCG64(mixed_seed(self.seed, turn, source)).random_raw(share.size)
        return np.lexsort((words, rank[place] // share.shards_at_once))

    def _distinct(self, visits: np.ndarray, epoch: int) -> np.ndarray:
        """The same visits, dealt to the batches so that none has two of one concept.

        Visits are sorted by concept (concepts in random order) and dealt out like cards, one a batch in turn: those of
        one concept go to different batches as long as there are enough batches.
        """
        ids = self._ids[visits % self.total] if self._ids is not None else visits
        known, concept, count = np.unique(ids, return_inverse=True, return_counts=True)
        rounds, rest = divmod(self.size, self.batch_size)
        if count.max() > max(rounds, 1):
            most = int(known[count.argmax()])
            most = self._classes[most] if most < len(self._classes) else most
            raise UserError(
                f"the concept {most!r} has {count.max()} samples in an epoch of {self.steps_per_epoch} batches: "
                "one of them must have two. Lower data.batch_size or set data.distinct=false"
            )
        ranks = _shuffled(len(known), self.seed, epoch, -2)
        words = np.random.PCG64(mixed_seed(self.seed, epoch, -3)).random_raw(self.size)
        dealt = np.lexsort((words, ranks[concept]))
        # Which batch each card goes to: the short last batch takes part in the first rounds alone. The other batches
        # are in random order, lest neighbours in one batch be neighbours in all.
        full = _shuffled(rounds, self.seed, epoch, -4)
        first = np.tile(np.append(full, rounds) if rest else full, rest if rest else self.batch_size)
        batch = np.concatenate((first, np.tile(full, self.batch_size - rest))) if rest else first
        return visits[dealt[np.argsort(batch, kind="stable")]]


def apportioned(weights: Sequence[float | int], samples: int) -> list[int]:
    """Whole numbers that add up to `samples` in proportion to `weights`, by the largest remainders."""
    shares = np.array(weights, dtype=np.float64) / sum(weights) * samples
    counts = np.floor(shares).astype(np.int64)
    for place in np.argsort(counts - shares, kind="stable")[: samples - int(counts.sum())]:
        counts[place] += 1
    return counts.tolist()


def _shuffled(size: int, *seed: int) -> np.ndarray:
    """0 to `size - 1` in an order that the seed decides."""
    return np.argsort(np.random.PCG64(mixed_seed(*seed)).random_raw(size), kind="stable")
