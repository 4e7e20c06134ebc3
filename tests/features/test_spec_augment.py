"""SpecAugment takes out what it says, no more, and draws from the seed, the step and the clip's place alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.errors import UserError
from triptych.features.spec_augment import SpecAugment
from triptych.features.spectrograms import Spectrograms

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=6)
FILL = -1.25


def spectrograms(sizes: list[int], mel_bins: int = 16) -> Spectrograms:
    """Values from 0 to 1, which the fill is not."""
    draw = torch.Generator().manual_seed(sum(sizes))
    return Spectrograms.of([torch.rand(size, mel_bins, generator=draw) for size in sizes], FILL)


def runs(taken: torch.Tensor) -> int:
    """How many runs of True there are."""
    return int(taken[0]) + int((taken[1:] & ~taken[:-1]).sum())


@settings(max_examples=60, deadline=None)
@given(
    sizes=lengths,
    widths=st.tuples(st.integers(0, 16), st.integers(0, 70)),
    masks=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    share=st.floats(0, 1),
    step=st.integers(0, 10**6),
)
def test_what_is_taken_out_is_whole_rows_and_columns_within_the_bounds(
    sizes: list[int], widths: tuple[int, int], masks: tuple[int, int], share: float, step: int
) -> None:
    augment = SpecAugment(*widths, *masks, time_share=share)
    before = spectrograms(sizes)
    kept = before.frames.clone()
    after = augment(before, step)
    assert torch.equal(before.frames, kept)
    assert after.lengths == before.lengths
    assert after.pad_value == FILL
    for left, right in zip(before, after, strict=True):
        gone = right == FILL
        assert torch.equal(left[~gone], right[~gone])
        frames, bins = gone.all(1), gone.all(0)
        assert int(bins.sum()) == 16 or int(frames.sum()) <= min(share * len(left), masks[1] * widths[1])
        assert int(frames.sum()) == len(left) or int(bins.sum()) <= masks[0] * widths[0]
        assert torch.equal(gone, frames[:, None] | bins)
        if not bins.all():
            assert runs(frames) <= masks[1]
        if not frames.all():
            assert runs(bins) <= masks[0]


@settings(max_examples=40, deadline=None)
@given(sizes=lengths, step=st.integers(0, 10**6), seed=st.integers(0, 2**32), data=st.data())
def test_a_draw_depends_on_seed_step_and_place_only(
    sizes: list[int], step: int, seed: int, data: st.DataObject
) -> None:
    augment, batch = SpecAugment(8, 30, 2, 2, seed=seed), spectrograms(sizes)
    torch.manual_seed(1)
    whole = augment(batch, step)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    first = data.draw(st.integers(0, len(sizes) - 1))
    stop = data.draw(st.integers(first + 1, len(sizes)))
    part = augment(batch[first:stop], step, first)
    assert torch.equal(part.frames, whole[first:stop].frames)


def test_steps_seeds_and_clips_differ() -> None:
    batch = Spectrograms.of([torch.rand(40, 16).repeat(1, 1)] * 2, FILL)
    first, step, seed = (SpecAugment(8, 30, seed=seed)(batch, step) for seed, step in [(0, 0), (0, 1), (1, 0)])
    for other in (step, seed):
        assert not torch.equal(first.frames, other.frames)
    assert not torch.equal(first[0], first[1])


def test_widths_are_drawn_evenly_up_to_the_most() -> None:
    batch, augment = spectrograms([40] * 50), SpecAugment(frequency_width=4, time_width=9, time_share=1.0)
    bins, frames = torch.zeros(5), torch.zeros(10)
    for step in range(40):
        for clip in augment(batch, step):
            gone = clip == FILL
            bins[int(gone.all(0).sum())] += 1
            frames[int(gone.all(1).sum())] += 1
    assert (bins / 2000 - 1 / 5).abs().max() < 0.04
    assert (frames / 2000 - 1 / 10).abs().max() < 0.03


def test_every_frame_and_bin_may_go() -> None:
    batch, augment = spectrograms([12] * 50), SpecAugment(4, 6)
    gone = torch.zeros(12, 16, dtype=torch.bool)
    for step in range(20):
        for clip in augment(batch, step):
            gone |= clip == FILL
    assert gone.all()


def test_a_short_clip_keeps_its_content() -> None:
    augment = SpecAugment(frequency_width=0, time_width=192, time_masks=2, time_share=0.5)
    for step in range(50):
        assert all(
            (clip != FILL).any(1).sum() >= (len(clip) + 1) // 2 for clip in augment(spectrograms([1, 2, 9, 98]), step)
        )


def test_no_width_and_no_clip_change_nothing() -> None:
    batch = spectrograms([5, 7])
    assert torch.equal(SpecAugment(0, 0)(batch, 3).frames, batch.frames)
    assert torch.equal(SpecAugment(4, 4, 0, 0)(batch, 3).frames, batch.frames)
    assert len(SpecAugment(4, 4)(batch[2:], 0)) == 0


def test_settings_that_cannot_be_are_refused() -> None:
    for name in ("frequency_width", "time_width", "frequency_masks", "time_masks"):
        with pytest.raises(UserError, match=f"{name} is -1; it must be at least 0"):
            SpecAugment(**{name: -1})
    with pytest.raises(UserError, match=r"time_share is 1.5; it must be at least 0 and at most 1"):
        SpecAugment(time_share=1.5)
    with pytest.raises(UserError, match="frequency_width is 48, and a frame has 16 mel bins"):
        SpecAugment()(spectrograms([3]), 0)
