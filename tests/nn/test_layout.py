"""Padded and packed routes hold the same tokens."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.nn.layout import Rotary, SequenceLayout

lengths_of_batches = st.lists(st.integers(1, 6), min_size=1, max_size=5)


@given(lengths=lengths_of_batches, extra=st.integers(0, 2))
@settings(max_examples=30, deadline=None)
def test_pack_undoes_unpack(lengths: list[int], extra: int) -> None:
    layout = SequenceLayout.padded(lengths, max(lengths) + extra)
    packed = torch.randn(sum(lengths), 3)
    padded = layout.unpack(packed)
    assert padded.shape == (len(lengths), max(lengths) + extra, 3)
    assert torch.equal(layout.pack(padded), packed)
    assert torch.equal(layout.real_tokens().sum(1), torch.tensor(lengths))
    assert padded[~layout.real_tokens()].abs().sum() == 0


@given(lengths=lengths_of_batches)
@settings(max_examples=30, deadline=None)
def test_packed_layout_knows_each_token(lengths: list[int]) -> None:
    layout = SequenceLayout.packed_from(lengths)
    assert layout.total == sum(lengths)
    assert layout.owners().tolist() == [i for i, n in enumerate(lengths) for _ in range(n)]
    assert layout.places().tolist() == [j for n in lengths for j in range(n)]
    assert layout.cu_seqlens is not None
    assert layout.cu_seqlens.diff().tolist() == lengths


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_select_is_the_layout_of_the_subset(data: st.DataObject) -> None:
    lengths = data.draw(lengths_of_batches)
    chosen = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=4, unique=True))
    packed = SequenceLayout.packed_from(lengths)
    table = torch.randn(packed.total, 2)
    packed = packed.with_rotary(Rotary(table, -table))
    subset = packed.select(chosen)
    assert subset.host_sizes == tuple(lengths[i] for i in chosen)
    assert subset.rotary is not None
    expected = torch.cat([table.split(lengths)[i] for i in chosen])
    assert torch.equal(subset.rotary.cos, expected)
    assert torch.equal(table[packed.rows_of(chosen)], expected)
    padded = SequenceLayout.padded(lengths, max(lengths)).select(torch.tensor(chosen))
    assert padded.host_sizes == subset.host_sizes
    assert padded.max_length == max(lengths)


def test_equal_lengths_need_no_mask() -> None:
    assert SequenceLayout.padded([4, 4], 4).key_mask is None
    assert SequenceLayout.padded([4, 4], 4).lengths is None
    assert SequenceLayout.packed_from([4, 4]).groups == ()


def test_to_packed_carries_the_rotation() -> None:
    table = torch.randn(3, 2)
    layout = SequenceLayout.padded([1, 3], 3).with_rotary(Rotary(table, table)).to_packed()
    assert layout.packed
    assert layout.rotary is not None
    assert torch.equal(layout.rotary.cos, torch.cat([table[:1], table]))


@pytest.mark.parametrize(
    ("lengths", "tokens", "told"), [([3, 0], 4, "at least one token"), ([5], 4, "5 tokens"), ([], 4, "a batch one")]
)
def test_impossible_lengths_are_refused(lengths: list[int], tokens: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        SequenceLayout.padded(lengths, tokens)
