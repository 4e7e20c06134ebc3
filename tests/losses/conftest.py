"""Embeddings to compare, and the losses written once more, pair by pair, in float64."""

import torch
from torch import Tensor
from torch.nn import functional as F


def unit(count: int, dim: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Unit vectors that gradients can be asked of."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return F.normalize(drawn, dim=-1).to(dtype).requires_grad_()


def scalar(value: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(value, dtype=dtype, requires_grad=True)


def softmax_by_hand(
    first: Tensor, second: Tensor, ids: list[int], scale: Tensor, hardness: float = 0.0, positive_weight: float = 1.0
) -> Tensor:
    """The mean of both directions over samples, one pair at a time."""
    total = torch.zeros((), dtype=torch.float64)
    for queries, keys in ((first, second), (second, first)):
        for i in range(len(ids)):
            logits = [scale.exp() * (queries[i] * keys[j]).sum() for j in range(len(ids))]
            own = [logit for logit, id in zip(logits, ids, strict=True) if id == ids[i]]
            others = [logit for logit, id in zip(logits, ids, strict=True) if id != ids[i]]
            if not others and positive_weight == 0:
                continue
            denominator = positive_weight * sum(logit.exp() for logit in own)
            if others:
                weights = torch.stack([(hardness * logit).exp() for logit in others])
                weights = weights / weights.mean()
                denominator = denominator + (weights * torch.stack(others).exp()).sum()
            total = total - sum((logit.exp() / denominator).log() for logit in own) / len(own)
    return total / (2 * len(ids))


def sigmoid_by_hand(first: Tensor, second: Tensor, ids: list[int], scale: Tensor, bias: Tensor) -> Tensor:
    """All pairs, one at a time."""
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(ids)):
        for j in range(len(ids)):
            logit = scale.exp() * (first[i] * second[j]).sum() + bias
            total = total - F.logsigmoid(logit if ids[i] == ids[j] else -logit)
    return total / len(ids)
