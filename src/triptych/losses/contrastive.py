"""Contrastive losses of embeddings that belong together, for any two or more modalities.

Embeddings have unit length; a logit is `exp(logit_scale) * <query, key> + logit_bias`. Rows with the same id are
positives of each other: one caption of several pictures, one concept in several styles. Losses are sums over samples,
so that a process can answer for its own `rows` of a batch that is spread over several; `contrastive` is the mean that
one trains on. All keep O(batch x dim) for the backward pass: see `triptych.losses.tiles`.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from triptych.errors import UserError
from triptych.losses.tiles import tiled_sum

# Stands for the logit of what is not there: its exponential is 0, and no infinity makes a gradient nan.
_NOTHING = -1e30
_TILE = 1024


# (first, second, first_ids, second_ids, logit_scale, logit_bias, rows=None) -> sum over `rows` (None: all) of the first
PairLoss = Callable[..., Tensor]


def softmax_contrastive(
    first: Float[Tensor, "batch dim"],
    second: Float[Tensor, "batch dim"],
    first_ids: Int[Tensor, " batch"],
    second_ids: Int[Tensor, " batch"],
    logit_scale: Float[Tensor, ""],
    logit_bias: Float[Tensor, ""] | None = None,
    rows: range | None = None,
    hardness: float = 0.0,
    positive_weight: float = 1.0,
    tile: int | None = _TILE,
) -> Float[Tensor, ""]:
    """Cross-entropy (in nats) of finding a sample's partner among all, the mean of both directions, summed over `rows`
    (Radford et al. 2021, "CLIP").

    Of several positives, each counts alike: the mean of their log-probabilities (Khosla et al. 2020, "SupCon"; Yang et
    al. 2022, "UniCL"). `hardness` (beta of Radenovic et al. 2023, "HN-NCE") weighs each negative by `exp(beta *
    logit)`, scaled to a mean of 1 over the negatives of a query; 0 weighs them alike. `positive_weight` (their alpha)
    is what positives count in the denominator: 1 as in CLIP, 0 leaves them out (Yeh et al. 2022, "Decoupled
    contrastive learning"), where a query without any negative costs nothing.

    Each sample must have its partner at the same row of the other modality. `tile` queries are compared at a time;
    None takes all at once. Raises UserError for a setting out of its range.
    """
    _check_tile(tile)
    if not hardness >= 0:
        raise UserError(f"hardness is {hardness}, but must be at least 0, which weighs all negatives alike")
    if not 0 <= positive_weight <= 1:
        raise UserError(f"positive_weight is {positive_weight}, but must lie between 0 and 1, which is CLIP's")
    block = partial(_softmax_block, hardness=hardness, positive_weight=positive_weight)
    return tiled_sum(block, first, second, first_ids, second_ids, logit_scale, logit_bias, rows, tile, both_ways=True)


def sigmoid_contrastive(
    first: Float[Tensor, "rows dim"],
    second: Float[Tensor, "columns dim"],
    first_ids: Int[Tensor, " rows"],
    second_ids: Int[Tensor, " columns"],
    logit_scale: Float[Tensor, ""],
    logit_bias: Float[Tensor, ""] | None = None,
    rows: range | None = None,
    tile: int | None = _TILE,
) -> Float[Tensor, ""]:
    """Binary cross-entropy (in nats) of each pair by itself, whether it belongs together, summed over all pairs of
    `rows` of the first with all of the second (Zhai et al. 2023, "SigLIP"). Every positive counts as +1.

    As it is a sum over pairs, it also adds up over parts of the second: see `adds_up`. `tile` rows are compared at a
    time; None takes all at once. Raises UserError for a tile below 1.
    """
    _check_tile(tile)
    return tiled_sum(
        _sigmoid_block, first, second, first_ids, second_ids, logit_scale, logit_bias, rows, tile, both_ways=False
    )


def contrastive(
    features: Sequence[Float[Tensor, "batch dim"]],
    logit_scale: Float[Tensor, ""],
    logit_bias: Float[Tensor, ""] | None = None,
    ids: Int[Tensor, " batch"] | None = None,
    loss: PairLoss = softmax_contrastive,
    rows: range | None = None,
) -> Float[Tensor, ""]:
    """The mean of `loss` over samples, and over all pairs of two or more modalities.

    Without `ids`, each sample is the only positive of itself. With `rows`, the part of the mean that these samples
    answer for: parts of all samples add up to the mean. Raises UserError for fewer than two modalities.
    """
    if len(features) < 2:
        raise UserError(f"a contrastive loss compares two modalities or more, but there are {len(features)}")
    ids = torch.arange(len(features[0]), device=features[0].device) if ids is None else ids
    pairs = list(combinations(features, 2))
    sums = [loss(first, second, ids, ids, logit_scale, logit_bias, rows=rows) for first, second in pairs]
    return torch.stack(sums).sum() / (len(pairs) * max(len(ids), 1))


def adds_up(loss: Callable[..., Tensor]) -> bool:
    """Whether a loss of parts of the second modality adds up to the loss of all of it, as a ring exchange needs."""
    return (loss.func if isinstance(loss, partial) else loss) is sigmoid_contrastive


def _softmax_block(
    queries: Tensor,
    keys: Tensor,
    query_ids: Tensor,
    key_ids: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor | None,
    hardness: float,
    positive_weight: float,
) -> Tensor:
    logits = _logits(queries, keys, logit_scale, logit_bias)
    positive = query_ids[:, None] == key_ids
    found = torch.where(positive, logits, 0).sum(1) / positive.sum(1).clamp(min=1)
    if hardness == 0 and positive_weight == 1:
        return (logits.logsumexp(1) - found).sum()
    negatives = logits.masked_fill(positive, _NOTHING)
    count = (~positive).sum(1)
    denominator = negatives.logsumexp(1)
    if hardness:
        mean_weight = (hardness * negatives).logsumexp(1) - count.clamp(min=1).to(logits.dtype).log()
        denominator = ((1 + hardness) * negatives).logsumexp(1) - mean_weight
    denominator = denominator.where(count > 0, denominator.new_tensor(_NOTHING))
    if positive_weight:
        own = logits.masked_fill(~positive, _NOTHING).logsumexp(1) + math.log(positive_weight)
        return (torch.logaddexp(own, denominator) - found).sum()
    return (denominator - found).where(count > 0, 0).sum()


def _sigmoid_block(
    queries: Tensor,
    keys: Tensor,
    query_ids: Tensor,
    key_ids: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor | None,
) -> Tensor:
    logits = _logits(queries, keys, logit_scale, logit_bias)
    return -F.logsigmoid(torch.where(query_ids[:, None] == key_ids, logits, -logits)).sum()


def _logits(queries: Tensor, keys: Tensor, logit_scale: Tensor, logit_bias: Tensor | None) -> Tensor:
    logits = (queries * logit_scale.to(queries.dtype).exp()) @ keys.T
    return logits if logit_bias is None else logits + logit_bias.to(logits.dtype)


def _check_tile(tile: int | None) -> None:
    if tile is not None and tile < 1:
        raise UserError(f"tile is {tile}, but must be at least 1; null takes all rows at once")
