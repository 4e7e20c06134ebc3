"""How processes share the work of a contrastive loss over the samples of all of them.

Each gives every process a number of its own, and the mean of these over processes is the loss of the global batch:
gradients that are averaged over processes, as DDP and FSDP do, are those of one process with all samples, for
embeddings, scale and bias alike, however unevenly the samples lie.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import combinations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from triptych.errors import UserError
from triptych.losses.contrastive import PairLoss, adds_up, contrastive
from triptych.parallel.gather import Shards, gather
from triptych.parallel.ring import ring_sum


class Exchange(ABC):
    """A way to share the work."""

    @abstractmethod
    def __call__(
        self,
        features: Sequence[Float[Tensor, "samples dim"]],
        logit_scale: Float[Tensor, ""],
        logit_bias: Float[Tensor, ""] | None,
        ids: Int[Tensor, " samples"] | None,
        loss: PairLoss,
        shards: Shards,
    ) -> Float[Tensor, ""]:
        """This process's number, from its own samples of each modality; without `ids`, each is its own positive."""

    def check(self, loss: PairLoss) -> None:  # noqa: B027 - most take any loss
        """Raises UserError for a loss that cannot be shared in this way."""


class WholeBatch(Exchange):
    """Embeddings are gathered, and each process compares all with all: the same number in each."""

    def __call__(
        self,
        features: Sequence[Float[Tensor, "samples dim"]],
        logit_scale: Float[Tensor, ""],
        logit_bias: Float[Tensor, ""] | None,
        ids: Int[Tensor, " samples"] | None,
        loss: PairLoss,
        shards: Shards,
    ) -> Float[Tensor, ""]:
        """The loss of the global batch."""
        return contrastive(_gather_all(features, shards), logit_scale, logit_bias, all_ids(ids, features, shards), loss)


class OwnRows(Exchange):
    """Embeddings are gathered, and each process compares its own samples with all: a share of the work of
    `WholeBatch`, with the same gradients.
    """

    def __call__(
        self,
        features: Sequence[Float[Tensor, "samples dim"]],
        logit_scale: Float[Tensor, ""],
        logit_bias: Float[Tensor, ""] | None,
        ids: Int[Tensor, " samples"] | None,
        loss: PairLoss,
        shards: Shards,
    ) -> Float[Tensor, ""]:
        """The part of the loss that the own samples answer for, times the number of processes."""
        everyone, ids = _gather_all(features, shards), all_ids(ids, features, shards)
        return shards.world * contrastive(everyone, logit_scale, logit_bias, ids, loss, shards.own)


class Ring(Exchange):
    """Nothing is gathered but ids: embeddings visit each process in turn, so memory does not grow with their number.
    Only for losses that are sums over pairs: the sigmoid's.
    """

    def __call__(
        self,
        features: Sequence[Float[Tensor, "samples dim"]],
        logit_scale: Float[Tensor, ""],
        logit_bias: Float[Tensor, ""] | None,
        ids: Int[Tensor, " samples"] | None,
        loss: PairLoss,
        shards: Shards,
    ) -> Float[Tensor, ""]:
        """The part of the loss that the own samples of each first modality answer for, times the number of processes.

        Raises UserError: see `check`.
        """
        self.check(loss)
        ids = all_ids(ids, features, shards)
        pairs = list(combinations(_wide(features), 2))
        sums = [ring_sum(loss, first, second, ids, logit_scale, logit_bias, shards) for first, second in pairs]
        return torch.stack(sums).sum() * (shards.world / (len(pairs) * shards.total))

    def check(self, loss: PairLoss) -> None:
        """Raises UserError for a loss that is no sum over pairs."""
        if not adds_up(loss):
            name = getattr(getattr(loss, "func", loss), "__name__", type(loss).__name__)
            raise UserError(
                f"objective.exchange is a ring, but {name} needs all samples at once to normalise; take "
                "objective/exchange=own_rows, or objective/loss=siglip"
            )


def all_ids(ids: Tensor | None, features: Sequence[Tensor], shards: Shards) -> Int[Tensor, " total"]:
    """The ids of the samples of all processes; without any, each sample has one of its own."""
    return torch.arange(shards.total, device=features[0].device) if ids is None else gather(ids, shards)


def _gather_all(features: Sequence[Tensor], shards: Shards) -> list[Tensor]:
    """Each modality's embeddings of all processes, in one exchange."""
    wide = _wide(features)
    return list(gather(torch.cat(wide, dim=1), shards).split([each.shape[1] for each in wide], dim=1))


def _wide(features: Sequence[Tensor]) -> list[Tensor]:
    """float32 at least: sums over processes are not rounded to bfloat16."""
    kind = torch.float32
    for each in features:
        kind = torch.promote_types(kind, each.dtype)
    return [each.to(kind) for each in features]
