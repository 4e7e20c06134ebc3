"""Normalisations. The default epsilon is that of ViT (1e-6), not PyTorch's 1e-5."""

import torch
from torch import nn


class LayerNorm(nn.LayerNorm):
    """Layer normalisation over the last dimension (Ba et al., 2016)."""

    def __init__(self, dim: int, eps: float = 1e-6, bias: bool = True) -> None:
        super().__init__(dim, eps=eps, bias=bias)


class RMSNorm(nn.RMSNorm):
    """Root-mean-square normalisation over the last dimension: no mean, no bias (Zhang and Sennrich, 2019)."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__(dim, eps=eps)


def is_norm(module: torch.nn.Module) -> bool:
    """True for the modules whose weight is a gain that starts at one."""
    return isinstance(module, (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm))
