"""Pools read the right tokens on every route."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from triptych.nn.init import initialise
from triptych.nn.layout import SequenceLayout
from triptych.nn.norm import LayerNorm
from triptych.nn.pool import AttentionPool, ClassMeanPool, ClassTokenPool, DistilledPool, MeanPool, Pool

POOLS: list[Callable[..., Pool]] = [
    ClassTokenPool,
    partial(ClassTokenPool, norm_after=True),
    MeanPool,
    partial(MeanPool, norm_after=False),
    partial(AttentionPool, heads=2),
    partial(AttentionPool, heads=2, norm_after=True),
]
LENGTHS, PREFIX = [4, 7, 4], 2


@pytest.mark.parametrize("pool", POOLS)
def test_packed_padded_and_separate_agree(pool: Callable[[int, Callable[[int], nn.Module]], Pool]) -> None:
    part = pool(8, LayerNorm)
    initialise(part)
    packed = SequenceLayout.packed_from(LENGTHS, prefix=PREFIX)
    padded = SequenceLayout.padded(LENGTHS, 9, prefix=PREFIX)
    x = torch.randn(sum(LENGTHS), 8)
    alone = [part(s[None], SequenceLayout.dense(1, len(s), prefix=PREFIX)) for s in x.split(LENGTHS)]
    dirty = padded.unpack(x) + 100.0 * ~padded.real_tokens()[..., None]
    torch.testing.assert_close(part(x, packed), torch.cat(alone), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(part(dirty, padded), torch.cat(alone), rtol=1e-5, atol=1e-6)
    equal = SequenceLayout.packed_from([5, 5, 5], prefix=PREFIX)
    dense = SequenceLayout.dense(3, 5, prefix=PREFIX)
    torch.testing.assert_close(part(x, equal), part(x.view(3, 5, 8), dense))


def test_mean_leaves_the_prefix_out_and_the_class_token_is_first() -> None:
    x = torch.randn(2, 6, 8)
    layout = SequenceLayout.dense(2, 6, prefix=2)
    torch.testing.assert_close(MeanPool(8, nn.Identity)(x, layout), x[:, 2:].mean(1))
    assert torch.equal(ClassTokenPool(8, LayerNorm)(x, layout), x[:, 0])


def test_attention_pool_reads_content_alone() -> None:
    pool = AttentionPool(8, LayerNorm, heads=2)
    initialise(pool)
    layout, x = SequenceLayout.dense(2, 6, prefix=2), torch.randn(2, 6, 8)
    other: Tensor = x.clone()
    other[:, :2] = 5.0
    assert torch.equal(pool(x, layout), pool(other, layout))
    with pytest.raises(ValueError, match=r"dim=8 .*heads=3"):
        AttentionPool(8, LayerNorm, heads=3)


def test_tokens_side_by_side_padded_and_packed() -> None:
    x = torch.randn(2, 6, 4)
    dense = SequenceLayout.dense(2, 6, prefix=2)
    both, tokens = ClassMeanPool(4, LayerNorm), DistilledPool(4, LayerNorm)
    assert torch.equal(both(x, dense), torch.cat([x[:, 0], x[:, 2:].mean(1)], -1))
    assert torch.equal(tokens(x, dense), torch.cat([x[:, 0], x[:, 1]], -1))
    assert both.width(4) == tokens.width(4) == 8
    packed = SequenceLayout.packed_from([6, 4], prefix=2)
    joined = torch.cat([x[0], x[1, :4]])
    torch.testing.assert_close(tokens(joined, packed), tokens(x, dense))
    torch.testing.assert_close(both(joined, packed)[1], torch.cat([x[1, 0], x[1, 2:4].mean(0)]))
