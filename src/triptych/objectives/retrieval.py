"""How well samples find their partners in another modality, over a whole validation set."""

from collections.abc import Sequence
from itertools import combinations, permutations

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchmetrics import MeanMetric

from triptych.measure.retrieval import Counts, Ranks, Retrieval
from triptych.parallel.gather import Shards, gather

RECALL_AT = (1, 5)


class RetrievalMetrics(nn.Module):
    """`loss` and, for each two modalities and both ways, `A_to_B_recall_at_1` and `_at_5`: the share of samples of A
    that have a positive (a sample with the same id) among the nearest 1 or 5 of B; `recall_at_1` is the mean over all
    ways.

    Ranks are over the whole set, exact on any number of processes. It keeps all embeddings, on their device.
    """

    monitor = "recall_at_1"

    def __init__(self, modalities: Sequence[str]) -> None:
        super().__init__()
        self.modalities = list(modalities)
        found = [f"{a}_to_{b}_recall_at_{k}" for a, b in permutations(modalities, 2) for k in RECALL_AT]
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
        everyone, groups = gather(features, shards), gather(ids, shards).cpu().numpy()
        device = "cpu" if ids.device.type == "mps" else ids.device  # mps has no float64
        ranks: dict[str, Ranks] = {}
        for (a, first), (b, second) in combinations(enumerate(self.modalities), 2):
            search = Retrieval(everyone[:, a], everyone[:, b], groups, groups, device)
            counts = _of_all(search.count(shards.rank, shards.world), ids.device, shards)
            ranks[f"{first}_to_{second}"], ranks[f"{second}_to_{first}"] = search.ranks([counts])
        shares = {
            f"{way}_recall_at_{k}": torch.tensor(float(found.recall(k).mean()), dtype=torch.float64, device=device)
            for way, found in ranks.items()
            for k in RECALL_AT
        }
        at_1 = [share for name, share in shares.items() if name.endswith("_at_1")]
        return {"loss": self.loss.compute(), "recall_at_1": torch.stack(at_1).mean(), **shares}

    def reset(self) -> None:
        """Forgets all batches."""
        self.loss.reset()
        self.samples, self._features, self._ids = 0, [], []


def _of_all(counts: Counts, device: torch.device, shards: Shards) -> Counts:
    """The sum over processes."""
    if shards.world == 1:
        return counts
    together = torch.from_numpy(np.stack(counts)).to(device)
    dist.all_reduce(together, group=shards.group)
    return Counts(*together.cpu().numpy())
