"""A watched module attends explicitly, with the same result; everything else stays as it is."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from triptych.nn.attention import rotate
from triptych.nn.layout import Rotary, SequenceLayout
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import RMSNorm
from triptych.nn.watch import AttentionWatch, watching

Norm = Callable[[int], nn.Module]


def expected_weights(mixer: SoftmaxMixer, x: Tensor, turns: Rotary | None, causal: bool) -> Tensor:
    """Query by query, key by key, of one sequence: (heads, tokens, tokens)."""
    query, key, _ = (part.unflatten(-1, (-1, mixer.head_dim)) for part in mixer.qkv.parts(x))
    if mixer.query_norm is not None and mixer.key_norm is not None:
        query, key = mixer.query_norm(query), mixer.key_norm(key)
    if turns is not None:
        query, key = rotate(query, turns), rotate(key, turns)
    tokens, repeats = len(x), mixer.heads // mixer.kv_heads
    scores = torch.full((mixer.heads, tokens, tokens), -torch.inf)
    for head in range(mixer.heads):
        for i in range(tokens):
            for j in range(i + 1 if causal else tokens):
                scores[head, i, j] = query[i, head] @ key[j, head // repeats] / mixer.head_dim**0.5
    return scores.exp() / scores.exp().sum(-1, keepdim=True)


@pytest.mark.parametrize("route", ["dense", "padded", "packed"])
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    causal=st.booleans(),
    kv_heads=st.sampled_from([1, 2, 4]),
    norm=st.sampled_from([None, RMSNorm]),
    turned=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=25, deadline=None)
def test_weights_are_the_softmax_and_the_output_stays(
    route: str, lengths: list[int], causal: bool, kv_heads: int, norm: Norm | None, turned: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    lengths = [lengths[0]] * len(lengths) if route == "dense" else lengths
    longest, total = max(lengths), sum(lengths)
    mixer = SoftmaxMixer(16, 4, kv_heads, qk_norm=norm)
    packed = SequenceLayout.packed_from(lengths, causal)
    angles = torch.randn(total, 2)
    turns = Rotary(angles.cos(), angles.sin()) if turned else None
    x = torch.randn(total, 16)
    layout, given_x = packed.with_rotary(turns), x
    if route != "packed":
        rows = SequenceLayout.padded(lengths, longest, causal)
        layout, given_x = rows.with_rotary(turns and turns.map(packed.unpack)), packed.unpack(x)
    with torch.no_grad():
        fused = mixer(given_x, layout)[0]
        with AttentionWatch({"mixer": mixer}) as watch:
            explicit = mixer(given_x, layout)[0]
            again = mixer(given_x, layout)[0]
    assert torch.equal(explicit, again)
    real = (lambda t: t) if route == "packed" else layout.pack
    torch.testing.assert_close(real(explicit), real(fused), rtol=1e-5, atol=1e-6)

    seen = watch.seen["mixer"]
    assert seen.layout is layout
    ends = torch.tensor([0, *lengths]).cumsum(0).tolist()
    for place, (start, end) in enumerate(pairwise(ends)):
        wanted = expected_weights(mixer, x[start:end], turns and turns.map(lambda t: t[start:end]), causal)  # noqa: B023
        if layout.groups:
            of_length = [each for each, group in zip(seen.weights, layout.groups, strict=True)
                         if group.length == lengths[place]]  # fmt: skip
            got = torch.cat(of_length)[lengths[:place].count(lengths[place])]
        else:
            got = seen.weights[0][place, :, : end - start, : end - start]
        torch.testing.assert_close(got, wanted.detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(got.sum(-1), torch.ones(got.shape[:-1]))


def test_only_what_is_watched_is_explicit_and_only_inside() -> None:
    watched, other = SoftmaxMixer(8, 2), SoftmaxMixer(8, 2)
    layout, x = SequenceLayout.dense(1, 3), torch.randn(1, 3, 8)
    with AttentionWatch({"a": watched}) as watch:
        assert watching() is None
        other(x, layout)
        watched(x, layout)
        assert watching() is None
        with pytest.raises(RuntimeError, match="entered already"), AttentionWatch({}):
            pass
    assert list(watch.seen) == ["a"]
    watched(x, layout)
    assert len(watch.seen["a"].weights) == 1


def test_an_error_inside_leaves_nothing_behind() -> None:
    mixer = SoftmaxMixer(8, 2)
    with pytest.raises(RuntimeError), AttentionWatch({"a": mixer}):
        mixer(torch.randn(1, 3, 9), SequenceLayout.dense(1, 3))
    assert watching() is None
    assert not mixer._forward_hooks
    assert not mixer._forward_pre_hooks


def test_half_precision_weighs_in_float32() -> None:
    mixer, layout, x = SoftmaxMixer(8, 2).bfloat16(), SequenceLayout.dense(2, 5), torch.randn(2, 5, 8).bfloat16()
    with AttentionWatch({"a": mixer}) as watch:
        explicit = mixer(x, layout)[0]
    (weights,) = watch.seen["a"].weights
    assert (weights.dtype, explicit.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 5))
    torch.testing.assert_close(explicit, mixer(x, layout)[0], rtol=2e-2, atol=2e-2)
