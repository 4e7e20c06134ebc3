"""Feed-forward layers: the part of a block that treats each token by itself.

A factory is called as ``feedforward(dim)``. The inner width is ``hidden_dim`` where that is given, else ``dim *
hidden_ratio``. ``inner_norm`` is a norm factory for what enters the last map (Shleifer et al., 2021, "NormFormer";
EVA-02), None for no norm there.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.nn.linear import FusedLinear, Linear


def quick_gelu(x: Tensor) -> Tensor:
    """``x * sigmoid(1.702 x)``, the cheap stand-in for GELU that OpenAI's CLIP was trained with."""
    return x * torch.sigmoid(1.702 * x)


Norm = Callable[[int], nn.Module]


class FeedForward(nn.Module):
    """``down(activation(up(x)))`` with a pointwise activation."""

    def __init__(
        self,
        dim: int,
        activation: Callable[[Tensor], Tensor],
        hidden_ratio: float,
        hidden_dim: int | None,
        bias: bool,
        inner_norm: Norm | None,
    ) -> None:
        super().__init__()
        hidden = hidden_width(dim, hidden_ratio, hidden_dim)
        self.activation = activation
        self.up = Linear(dim, hidden, bias)
        self.inner_norm = inner_norm(hidden) if inner_norm else nn.Identity()
        self.down = Linear(hidden, dim, bias)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return self.down(self.inner_norm(self.activation(self.up(x))))


class GatedFeedForward(nn.Module):
    """``down(activation(gate(x)) * up(x))``, gate and up in one matrix product (Shazeer, 2020, "GLU variants")."""

    def __init__(
        self,
        dim: int,
        activation: Callable[[Tensor], Tensor],
        hidden_ratio: float,
        hidden_dim: int | None,
        bias: bool,
        inner_norm: Norm | None,
    ) -> None:
        super().__init__()
        hidden = hidden_width(dim, hidden_ratio, hidden_dim)
        self.activation = activation
        self.gate_up = FusedLinear(dim, (hidden, hidden), bias)
        self.inner_norm = inner_norm(hidden) if inner_norm else nn.Identity()
        self.down = Linear(hidden, dim, bias)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        gate, up = self.gate_up.parts(x)
        return self.down(self.inner_norm(self.activation(gate) * up))


class GELUFeedForward(FeedForward):
    """The feed-forward of ViT and BERT: GELU, exact by default or its tanh approximation."""

    def __init__(
        self,
        dim: int,
        hidden_ratio: float = 4.0,
        hidden_dim: int | None = None,
        bias: bool = True,
        approximate: Literal["none", "tanh"] = "none",
        inner_norm: Norm | None = None,
    ) -> None:
        super().__init__(dim, partial(F.gelu, approximate=approximate), hidden_ratio, hidden_dim, bias, inner_norm)
        self.approximate = approximate


class QuickGELUFeedForward(FeedForward):
    """The feed-forward of OpenAI's CLIP."""

    def __init__(
        self,
        dim: int,
        hidden_ratio: float = 4.0,
        hidden_dim: int | None = None,
        bias: bool = True,
        inner_norm: Norm | None = None,
    ) -> None:
        super().__init__(dim, quick_gelu, hidden_ratio, hidden_dim, bias, inner_norm)


class SwiGLUFeedForward(GatedFeedForward):
    """SiLU-gated feed-forward, as in LLaMA and DINOv2-g; at 8/3 it costs as much as GELU at 4."""

    def __init__(
        self,
        dim: int,
        hidden_ratio: float = 8 / 3,
        hidden_dim: int | None = None,
        bias: bool = True,
        inner_norm: Norm | None = None,
    ) -> None:
        super().__init__(dim, F.silu, hidden_ratio, hidden_dim, bias, inner_norm)


class GeGLUFeedForward(GatedFeedForward):
    """GELU-gated feed-forward, as in T5 v1.1; at 8/3 it costs as much as GELU at 4."""

    def __init__(
        self,
        dim: int,
        hidden_ratio: float = 8 / 3,
        hidden_dim: int | None = None,
        bias: bool = True,
        inner_norm: Norm | None = None,
    ) -> None:
        super().__init__(dim, F.gelu, hidden_ratio, hidden_dim, bias, inner_norm)


def hidden_width(dim: int, hidden_ratio: float, hidden_dim: int | None) -> int:
    """The inner width: ``hidden_dim``, or else ``dim * hidden_ratio`` rounded to the nearest multiple of 8 (if not
    whole already).

    Raises ValueError where it is below 1.
    """
    if hidden_dim is None:
        exact = dim * hidden_ratio
        hidden_dim = int(exact) if exact == int(exact) else 8 * max(1, round(exact / 8))
    if hidden_dim < 1:
        raise ValueError(f"A feed-forward needs an inner width of at least 1, not {hidden_dim}.")
    return hidden_dim
