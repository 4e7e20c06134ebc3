"""Feed-forwards compute what their papers write."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from triptych.nn.feedforward import (
    GeGLUFeedForward,
    GELUFeedForward,
    QuickGELUFeedForward,
    SwiGLUFeedForward,
    hidden_width,
)
from triptych.nn.norm import LayerNorm


def test_pointwise() -> None:
    x = torch.randn(3, 8)
    for part, activation in (
        (GELUFeedForward(8), lambda h: 0.5 * h * (1 + torch.erf(h / 2**0.5))),
        (GELUFeedForward(8, approximate="tanh"), lambda h: F.gelu(h, approximate="tanh")),
        (QuickGELUFeedForward(8), lambda h: h / (1 + torch.exp(-1.702 * h))),
    ):
        hidden = activation(x @ part.up.weight.T + part.up.bias)
        torch.testing.assert_close(part(x), hidden @ part.down.weight.T + part.down.bias, rtol=1e-5, atol=1e-6)


def test_gated() -> None:
    x = torch.randn(3, 8)
    for part, activation in ((SwiGLUFeedForward(8), F.silu), (GeGLUFeedForward(8), F.gelu)):
        gate, up = part.gate_up.weight.chunk(2)
        gate_bias, up_bias = part.gate_up.bias.chunk(2)
        hidden: Tensor = activation(x @ gate.T + gate_bias) * (x @ up.T + up_bias)
        torch.testing.assert_close(part(x), hidden @ part.down.weight.T + part.down.bias, rtol=1e-5, atol=1e-6)


def test_width_by_ratio_or_absolute() -> None:
    assert GELUFeedForward(12).up.out_features == 48
    assert SwiGLUFeedForward(192).gate_up.out_features == 2 * 512
    assert GELUFeedForward(8, hidden_dim=5, bias=False).up.out_features == 5
    assert GELUFeedForward(8, bias=False).down.bias is None
    assert hidden_width(100, 8 / 3, None) % 8 == 0
    with pytest.raises(ValueError, match="at least 1, not 0"):
        GELUFeedForward(8, hidden_dim=0)


@pytest.mark.parametrize("kind", [GELUFeedForward, QuickGELUFeedForward, SwiGLUFeedForward, GeGLUFeedForward])
def test_a_norm_inside_stands_before_the_last_map(kind) -> None:
    layer = kind(6, hidden_dim=10, inner_norm=LayerNorm)
    seen = []
    layer.down.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    layer(torch.randn(4, 6) * 5)
    torch.testing.assert_close(seen[0].mean(-1), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(seen[0].std(-1, correction=0), torch.ones(4), rtol=0, atol=1e-2)
    assert [name for name, _ in kind(6, hidden_dim=10).named_parameters() if "norm" in name] == []
