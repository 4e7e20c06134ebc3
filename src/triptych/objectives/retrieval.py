"""How well samples find their partners in another modality, over a whole validation set."""

from collections.abc import Sequence
from itertools import permutations

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torchmetrics import MeanMetric

from triptych.parallel.gather import Shards, gather

RANKS = (1, 5)
_TILE = 512


class RetrievalMetrics(nn.Module):
    """`loss` and, for each two modalities and both ways, `A_to_B_recall_at_1` and `_at_5`: the share of samples of A
    that have a positive (a sample with the same id) among the nearest 1 or 5 of B; `recall_at_1` is the mean over all
    ways.

    Ranks are over the whole set, exact on any number of processes. It keeps all embeddings, on their device.
    """

    monitor = "recall_at_1"

    def __init__(self, modalities: Sequence[str]) -> None:
        super().__init__()
        self.ways = list(permutations(range(len(modalities)), 2))
        self.ways_named = [f"{modalities[a]}_to_{modalities[b]}" for a, b in self.ways]
        found = [f"{way}_recall_at_{rank}" for way in self.ways_named for rank in RANKS]
        self.names = ("loss", "recall_at_1", *found)
        self.loss = MeanMetric()
        self.samples = 0  # of all processes, so far
        self._features: list[Tensor] = []
        self._ids: list[Tensor] = []

    def update(
        self,
        features: Sequence[Float[Tensor, "batch dim"]],
        ids: Int[Tensor, " batch"],
        loss: Float[Tensor, ""],
        total: int,
    ) -> None:
        """Adds this process's samples of a batch; the mean over processes of `loss` is that of the `total` samples of
        all of them.
        """
        self.loss.update(loss, weight=total)
        self._features.append(torch.stack(list(features), dim=1).float())
        self._ids.append(ids)
        self.samples += total

    def compute(self, group: dist.ProcessGroup | None = None) -> dict[str, Tensor]:
        """The metrics over all samples of all processes of the group, each of which must ask."""
        features, ids = torch.cat(self._features), torch.cat(self._ids)
        shards = Shards.agree(len(ids), ids.device, group)
        keys, key_ids = gather(features, shards), gather(ids, shards)
        hits = torch.zeros(len(self.ways), len(RANKS), dtype=torch.float64, device=ids.device)
        for index, (a, b) in enumerate(self.ways):
            for part in range(0, len(ids), _TILE):
                rows = slice(part, part + _TILE)
                # Equal embeddings tie exactly: the rounding of a product in float64 is not left in float32.
                scores = (features[rows, a].double() @ keys[:, b].double().T).float()
                hits[index] += torch.stack([each.sum() for each in recall(scores, ids[rows, None] == key_ids, RANKS)])
        if shards.world > 1:
            dist.all_reduce(hits, group=group)
        shares = hits / shards.total
        named = {
            f"{way}_recall_at_{rank}": shares[row, column]
            for row, way in enumerate(self.ways_named)
            for column, rank in enumerate(RANKS)
        }
        return {"loss": self.loss.compute(), "recall_at_1": shares[:, RANKS.index(1)].mean(), **named}

    def reset(self) -> None:
        """Forgets all batches."""
        self.loss.reset()
        self.samples, self._features, self._ids = 0, [], []


def recall(
    scores: Float[Tensor, "queries keys"], positive: Bool[Tensor, "queries keys"], ranks: Sequence[int]
) -> list[Float[Tensor, " queries"]]:
    """For each rank, whether a positive is among so many best keys: 1 or 0, and where keys tie with the best positive,
    the probability when ties are ordered at random. Each query has a positive.
    """
    best = scores.masked_fill(~positive, -torch.inf).amax(1, keepdim=True)
    above = (scores > best).sum(1).double()
    level = scores == best
    good, bad = ((level & where).sum(1).double() for where in (positive, ~positive))
    found = []
    for rank in ranks:
        places = (rank - above).clamp(min=0)
        # No positive among `places` draws without replacement from good + bad.
        room = (bad - places).clamp(min=0)
        log_miss = (
            torch.lgamma(bad + 1) - torch.lgamma(room + 1) - torch.lgamma(good + bad + 1)
            + torch.lgamma((good + bad - places).clamp(min=0) + 1)
        )  # fmt: skip
        found.append(torch.where(places == 0, 0.0, torch.where(places > bad, 1.0, 1 - log_miss.exp())))
    return found
