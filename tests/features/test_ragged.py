"""Batches of clips and of spectrograms hold exactly what went in, whole and in part."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from triptych.features.ragged import Ragged
from triptych.features.spectrograms import Spectrograms
from triptych.features.waveforms import Waveforms

lengths = st.lists(st.integers(1, 9), min_size=1, max_size=7)


def clips(sizes: list[int], *shape: int) -> list[Tensor]:
    return [torch.randn(size, *shape) for size in sizes]


@given(sizes=lengths, kind=st.sampled_from(["waveforms", "spectrograms"]), data=st.data())
def test_samples_come_out_as_they_went_in(sizes: list[int], kind: str, data: st.DataObject) -> None:
    samples = clips(sizes) if kind == "waveforms" else clips(sizes, 3)
    batch: Ragged = Waveforms.of(samples, 16_000, 40) if kind == "waveforms" else Spectrograms.of(samples, -1.5)
    assert len(batch) == len(sizes)
    assert batch.lengths == tuple(sizes)
    assert all(each.untyped_storage().data_ptr() == batch.rows.untyped_storage().data_ptr() for each in batch)
    assert torch.equal(batch[-1], samples[-1])
    start, stop = data.draw(st.integers(0, len(sizes))), data.draw(st.integers(0, len(sizes)))
    picked = data.draw(st.lists(st.integers(0, len(sizes) - 1)))
    for part, expected in (
        (batch[start:stop], samples[start:stop]),
        (batch[::-2], samples[::-2]),
        (batch[picked], [samples[place] for place in picked]),
        (batch.clone(), samples),
        (batch.to("cpu"), samples),
    ):
        assert len(part) == len(expected)
        assert all(torch.equal(left, right) for left, right in zip(part, expected, strict=True))
        if isinstance(part, Waveforms):
            assert (part.sample_rate, part.max_batch_samples) == (16_000, 40)
        else:
            assert isinstance(part, Spectrograms)
            assert part.pad_value == -1.5
    with pytest.raises(IndexError):
        batch[len(sizes)]


@given(sizes=lengths, most=st.none() | st.integers(1, 8), budget=st.none() | st.integers(9, 30))
def test_cuts_hold_every_clip_once_within_the_budget(sizes: list[int], most: int | None, budget: int | None) -> None:
    batch = Waveforms.of(clips(sizes), 8_000, budget)
    runs = batch.cuts(most)
    assert [place for run in runs for place in range(len(sizes))[run]] == list(range(len(sizes)))
    for run in runs:
        assert 1 <= len(batch[run]) <= (most or len(sizes))
        assert budget is None or sum(batch[run].lengths) <= budget
    # No run could have taken the next clip too.
    for run, after in pairwise(runs):
        more = batch[run.start : after.start + 1].lengths
        assert (most and len(more) > most) or (budget is not None and sum(more) > budget)


def test_a_clip_beyond_the_budget_is_a_run_of_its_own() -> None:
    assert Waveforms.of(clips([2, 9, 2, 2]), 8_000, 4).cuts() == [slice(0, 1), slice(1, 2), slice(2, 4)]


@given(sizes=lengths, most=st.none() | st.integers(1, 8))
def test_cuts_of_spectrograms_count_clips(sizes: list[int], most: int | None) -> None:
    batch = Spectrograms.of(clips(sizes, 2), 0.0)
    runs = batch.cuts(most)
    assert [place for run in runs for place in range(len(sizes))[run]] == list(range(len(sizes)))
    assert all(len(batch[run]) == (most or len(sizes)) for run in runs[:-1])


@given(sizes=lengths)
def test_padding_holds_the_pad_value_and_goes_again(sizes: list[int]) -> None:
    waveforms = Waveforms.of(clips(sizes), 8_000)
    padded, _ = waveforms.padded()
    spectrograms = Spectrograms.of(clips(sizes, 3), -1.25)
    frames, counts = spectrograms.padded()
    assert padded.shape == (len(sizes), max(sizes))
    for place, size in enumerate(sizes):
        assert torch.equal(padded[place, :size], waveforms[place])
        assert not padded[place, size:].any()
        assert torch.equal(frames[place, :size], spectrograms[place])
        assert (frames[place, size:] == -1.25).all()
    for given_lengths in (counts, torch.tensor(counts)):
        again = Spectrograms.from_padded(frames, given_lengths, -1.25)
        assert again.lengths == tuple(sizes)
        assert torch.equal(again.frames, spectrograms.frames)


def test_blank_samples_have_no_content() -> None:
    (clip,) = Waveforms.of(clips([3]), 8_000).blank()
    assert torch.equal(clip, torch.zeros(8_000))
    (frames,) = Spectrograms.of(clips([3], 4), -1.25).blank()
    assert torch.equal(frames, torch.full((1, 4), -1.25))


def test_an_empty_part_has_no_runs() -> None:
    assert Waveforms.of(clips([3]), 8_000)[1:].cuts(2) == Spectrograms.of(clips([3], 4), 0.0)[1:].cuts(2) == []


def test_lengths_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="add up to 8, and there are 9"):
        Waveforms(torch.zeros(9), [3, 5], 8_000)
    with pytest.raises(ValueError, match=r"\[9, 0\]; each must be at least 1"):
        Waveforms(torch.zeros(9), [9, 0], 8_000)
    with pytest.raises(ValueError, match=r"\[4, 3\], but there are 2 rows of 3 frames"):
        Spectrograms.from_padded(torch.zeros(2, 3, 5), [4, 3], 0.0)
