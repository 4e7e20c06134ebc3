"""Invariants of the text tower, over positions, pools and directions."""

import copy
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm
from triptych.nn.pool import AttentionPool, ClassTokenPool, LastTokenPool, MeanPool
from triptych.nn.position import LearnedPosition, LearnedRotaryPosition, NoPosition, RotaryPosition, SinusoidalPosition
from triptych.nn.recompute import whole
from triptych.towers.text import TextTower, lengths_by_end

POSITIONS = {
    "learned": LearnedPosition,
    "sinusoidal": SinusoidalPosition,
    "rotary": RotaryPosition,
    "learned and rotary": LearnedRotaryPosition,
    "none": NoPosition,
}
POOLS = {
    "last": LastTokenPool,
    "last, norm after": partial(LastTokenPool, norm_after=True),
    "mean": MeanPool,
    "attention": partial(AttentionPool, heads=2),
}
REFUSED = {"class token": ClassTokenPool}
END, CONTEXT = 30, 12


def make(position: str = "learned", pool: str = "last", **given: Any) -> TextTower:
    torch.manual_seed(0)
    parts: dict[str, Any] = {
        "vocab_size": 31,
        "context_length": CONTEXT,
        "dim": 16,
        "depth": 2,
        "mixer": partial(SoftmaxMixer, heads=4),
        "feedforward": GELUFeedForward,
        "norm": LayerNorm,
        "position": POSITIONS[position],
        "pool": {**POOLS, **REFUSED}[pool],
    }
    tower = TextTower(**{**parts, **given})
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return tower


def texts(lengths: list[int], seed: int = 0, padding: int = 0) -> torch.Tensor:
    """Rows of random ids, ended by END at their lengths."""
    ids = torch.randint(1, END, (len(lengths), CONTEXT), generator=torch.Generator().manual_seed(seed))
    for row, length in zip(ids, lengths, strict=True):
        row[length - 1] = END
        row[length:] = padding
    return ids


def pooled_and_gradients(tower: TextTower, *inputs: Any) -> list[torch.Tensor]:
    tower.zero_grad()
    pooled = tower(*inputs).pooled
    (pooled * torch.linspace(-1, 1, pooled.numel()).view_as(pooled)).sum().backward()
    return [pooled.detach(), *(p.grad for p in tower.parameters() if p.grad is not None)]


@pytest.mark.parametrize(("position", "pool", "causal"), [*product(POSITIONS, POOLS, [True, False])])
def test_invariants(position: str, pool: str, causal: bool) -> None:
    tower = make(position, pool, causal=causal, end_token=END)
    lengths = [5, 12, 1, 5]
    ids = texts(lengths)

    # Packed, each text alone, told its lengths or not, whatever the padding: the same numbers and gradients.
    packed = pooled_and_gradients(tower, ids, torch.tensor(lengths))
    assert tower(ids).layout.total == sum(lengths)
    for again in ((ids,), (texts(lengths, padding=7), torch.tensor(lengths))):
        for ours, theirs in zip(packed, pooled_and_gradients(tower, *again), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6 * max(1.0, float(theirs.abs().max())))
    alone = torch.cat([tower(row[None, :length]).pooled for row, length in zip(ids, lengths, strict=True)])
    torch.testing.assert_close(packed[0], alone, rtol=1e-5, atol=1e-5)

    # A gradient on every parameter; activation checkpointing changes nothing; features end in the final one.
    assert len(packed) == 1 + len(list(tower.parameters()))
    other = copy.deepcopy(tower)
    other.stack.recompute(whole)
    for ours, theirs in zip(packed, pooled_and_gradients(other, ids, torch.tensor(lengths)), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(tower.intermediates(ids)[-1], tower(ids).tokens)


@given(st.lists(st.integers(1, CONTEXT), min_size=1, max_size=6), st.integers(0, 2**16), st.sampled_from([*POSITIONS]))
@settings(max_examples=30, deadline=None)
def test_cropping_does_not_change_what_a_causal_tower_reads_at_the_end(
    lengths: list[int], seed: int, position: str
) -> None:
    tower = make(position)
    ids = texts(lengths, seed)
    cropped = tower(ids, torch.tensor(lengths)).pooled
    whole = tower(ids)
    assert whole.layout.total == len(lengths) * CONTEXT
    there = whole.tokens[torch.arange(len(lengths)), torch.tensor(lengths) - 1]
    torch.testing.assert_close(cropped, there, rtol=0, atol=1e-5)


def test_padding_costs_nothing() -> None:
    tower = make(end_token=END)

    def flops(ids: torch.Tensor) -> int:
        with FlopCounterMode(display=False) as counter:
            tower(ids)
        return counter.get_total_flops()

    assert flops(texts([3] * 8)) < 0.3 * flops(texts([CONTEXT] * 8))


def test_a_tower_that_reads_padding_sees_it() -> None:
    tower = make(causal=False, reads_padding=True)
    lengths = torch.tensor([3, 7])
    ids, other = texts([3, 7]), texts([3, 7], padding=9)
    output = tower(ids, lengths)
    assert output.layout.total == 2 * CONTEXT
    assert torch.equal(output.pooled, output.tokens[:, -1])
    assert not torch.allclose(output.pooled, tower(other, lengths).pooled, atol=1e-3)


def test_causality() -> None:
    tower = make(causal=True)
    ids = texts([CONTEXT])
    changed = ids.clone()
    changed[0, 6] = 1 + ids[0, 6] % (END - 1)
    before, after = tower(ids).tokens[0], tower(changed).tokens[0]
    assert torch.equal(before[:6], after[:6])
    assert not torch.allclose(before[6:], after[6:], atol=1e-4)


@given(st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_lengths_by_end(rows: list[list[int]]) -> None:
    expected = [row.index(5) + 1 if 5 in row else 4 for row in rows]
    assert lengths_by_end(torch.tensor(rows), 5).tolist() == expected


def test_stochastic_depth_works_packed() -> None:
    tower = make(end_token=END, stochastic_depth=0.6).train()
    for gradient in pooled_and_gradients(tower, texts([3, 12, 7, 7]))[1:]:
        assert gradient.isfinite().all()


@pytest.mark.parametrize("lengths", [[CONTEXT] * 400, [CONTEXT, 5] * 200])
def test_token_dropout_leaves_out_embeddings_in_training_alone(lengths: list[int]) -> None:
    """Packed or not: a share of the tokens enters as its position alone, and none does afterwards."""
    tower = make(token_dropout=0.3)
    ids = texts(lengths)
    entered, layout = tower.embed(ids, torch.tensor(lengths))
    places = layout.places() if layout.packed else torch.arange(CONTEXT).expand(len(ids), -1)
    table = tower.position.table((CONTEXT,), ids.device)
    assert table is not None
    left_out = (entered - table[places]).abs().amax(-1) < 1e-6
    assert left_out.float().mean().item() == pytest.approx(0.3, abs=0.03)
    entered, _ = tower.eval().embed(ids, torch.tensor(lengths))
    assert not ((entered - table[places]).abs().amax(-1) < 1e-6).any()
    with pytest.raises(ValueError, match=r"token_dropout=1\.0 must be at least 0 and below 1"):
        make(token_dropout=1.0)


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="ClassTokenPool reads a class token"):
        make(pool="class token")
    with pytest.raises(ValueError, match="vocab_size=0"):
        make(vocab_size=0)
    tower = make()
    with pytest.raises(ValueError, match="13 tokens, but the tower has 12 places"):
        tower(torch.zeros(2, 13, dtype=torch.int64))
    with pytest.raises(ValueError, match="13 tokens long, but the rows hold only 12"):
        tower(texts([3, 4]), torch.tensor([3, 13]))
