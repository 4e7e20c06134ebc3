"""Mixers: what they declare, and softmax attention against the naive reference."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.init import initialise
from triptych.nn.layout import Rotary, SequenceLayout
from triptych.nn.mixers.base import Abilities, Mixer, require
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm, RMSNorm
from triptych.nn.stack import Stack


class Forgetful(Mixer):
    """Can only look back."""

    abilities: ClassVar[Abilities] = Abilities(causal=True)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.rotary_dim = None

    def forward(self, x: Tensor, layout: SequenceLayout, state: Any = None) -> tuple[Tensor, Any]:
        return x, state


def test_asking_for_more_than_a_mixer_can_raises_at_construction() -> None:
    with pytest.raises(ValueError, match=r"Forgetful cannot be bidirectional, packed \(it can be causal\)"):
        Stack(8, 1, Forgetful, GELUFeedForward, LayerNorm, needs=Abilities(bidirectional=True, packed=True))
    require(Forgetful(8), Abilities(causal=True))
    Stack(8, 1, Forgetful, GELUFeedForward, LayerNorm, needs=Abilities(causal=True))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kv_heads", [None, 2])
@pytest.mark.parametrize("qk_norm", [None, RMSNorm])
@pytest.mark.parametrize("turned", [False, True])
def test_softmax_equals_the_naive_reference(
    causal: bool,
    kv_heads: int | None,
    qk_norm: type[RMSNorm] | None,
    turned: bool,
    naive_attention: Callable[..., Tensor],
    naive_rotation: Callable[[Tensor, Tensor], Tensor],
) -> None:
    mixer = SoftmaxMixer(16, 4, kv_heads, qk_norm=qk_norm)
    initialise(mixer)
    x, angles = torch.randn(2, 5, 16), torch.randn(5, 2)
    layout = SequenceLayout.dense(2, 5, causal)
    if turned:
        layout = layout.with_rotary(Rotary(angles.cos(), angles.sin()))
    got, state = mixer(x, layout)
    assert state is None
    for sample, found in zip(x, got, strict=True):
        q, k, v = (part.unflatten(-1, (-1, 4)) for part in mixer.qkv.parts(sample))
        if mixer.query_norm is not None and mixer.key_norm is not None:
            q, k = mixer.query_norm(q), mixer.key_norm(k)
        if turned:
            q, k = naive_rotation(q, angles), naive_rotation(k, angles)
        expected = mixer.out(naive_attention(q, k, v, causal).flatten(1))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_token_by_token_equals_all_at_once() -> None:
    mixer = SoftmaxMixer(16, 4, kv_heads=2)
    initialise(mixer)
    x = torch.randn(2, 6, 16)
    whole, _ = mixer(x, SequenceLayout.dense(2, 6, causal=True))
    state, parts = mixer.empty_cache(2), []
    for piece in (x[:, :1], x[:, 1:4], x[:, 4:]):
        part, state = mixer(piece, SequenceLayout.dense(2, piece.shape[1], causal=True), state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-5, atol=1e-6)


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"dim=16 .*heads=3"):
        SoftmaxMixer(16, 3)
    with pytest.raises(ValueError, match=r"heads=4 .*kv_heads=3"):
        SoftmaxMixer(16, 4, kv_heads=3)
