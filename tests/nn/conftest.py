"""Naive references: each written for clearness, as the oracle."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor


def _attention(query: Tensor, key: Tensor, value: Tensor, causal: bool = False) -> Tensor:
    """Softmax attention of one sequence, heads in the middle: (tokens, heads, dim)."""
    repeats = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    scores = torch.einsum("qhd,khd->hqk", query, key) / query.shape[-1] ** 0.5
    if causal:
        queries, keys = scores.shape[1:]
        ahead = torch.arange(keys)[None, :] > torch.arange(queries)[:, None] + keys - queries
        scores = scores.masked_fill(ahead, -torch.inf)
    return torch.einsum("hqk,khd->qhd", scores.exp() / scores.exp().sum(-1, keepdim=True), value)


def _rotation(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary positions as a product of complex numbers: x (tokens, heads, dim), angles (tokens, dim / 2)."""
    turned = torch.complex(x[..., ::2], x[..., 1::2]) * torch.exp(1j * angles.to(torch.complex64))[:, None]
    return torch.stack([turned.real, turned.imag], -1).flatten(-2)


@pytest.fixture
def naive_attention() -> Callable[..., Tensor]:
    return _attention


@pytest.fixture
def naive_rotation() -> Callable[[Tensor, Tensor], Tensor]:
    return _rotation
