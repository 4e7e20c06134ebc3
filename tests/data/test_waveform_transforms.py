"""Waveform augmentation: each keeps its bounds, changes what it says, and draws from torch's generator only."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from triptych.data.waveform_transforms import Chain, Equalise, Gain, Noise, RandomSegment, Roll, Sometimes, Speed
from triptych.errors import UserError

ALL = [Gain(), Noise(), Roll(), Speed(), RandomSegment(0.01, 16_000), Sometimes(Gain(), 0.5), Chain([Roll(), Gain()])]


def clip(samples: int = 1000, seed: int = 0) -> Tensor:
    return torch.randn(1, samples, generator=torch.Generator().manual_seed(seed)) / 10


@pytest.mark.parametrize("transform", ALL, ids=lambda each: type(each).__name__)
def test_the_same_generator_gives_the_same_clip_and_the_input_stays(transform: Any) -> None:
    given_clip = clip()
    kept = given_clip.clone()
    made = []
    for seed in (1, 1, *range(2, 12)):
        torch.manual_seed(seed)
        made.append(transform(given_clip))
    assert torch.equal(made[0], made[1])
    assert any(not torch.equal(made[0], other) for other in made[2:])
    assert torch.equal(given_clip, kept)
    assert all(each.dtype == torch.float32 and each.ndim == 2 and len(each) == 1 for each in made)


@settings(max_examples=30, deadline=None)
@given(least=st.floats(-30, 30), extent=st.floats(0, 20), seed=st.integers(0, 2**31))
def test_gain_and_noise_lie_within_their_decibels(least: float, extent: float, seed: int) -> None:
    torch.manual_seed(seed)
    given_clip = clip(20_000)
    louder = Gain((least, least + extent))(given_clip)
    ratio = louder / given_clip
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
    assert least - 1e-3 <= 20 * math.log10(float(ratio[0, 0])) <= least + extent + 1e-3
    noise = Noise((least, least + extent))(given_clip) - given_clip
    snr = 10 * torch.log10(given_clip.square().mean() / noise.square().mean())
    assert least - 0.2 <= float(snr) <= least + extent + 0.2


def test_silence_stays_silence() -> None:
    assert not Noise()(torch.zeros(1, 50)).any()


@settings(max_examples=30, deadline=None)
@given(samples=st.integers(1, 500), share=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_a_roll_moves_by_at_most_its_share(samples: int, share: float, seed: int) -> None:
    torch.manual_seed(seed)
    given_clip = torch.arange(1.0, samples + 1)[None]
    rolled = Roll(share)(given_clip)
    place = int(rolled.argmin())
    assert min(place, samples - place) <= share * samples
    assert torch.equal(rolled.roll(-place, -1), given_clip)


def test_speed_changes_length_and_pitch() -> None:
    time = torch.arange(16_000) / 16_000
    tone = torch.sin(2 * torch.pi * 500 * time)[None]
    faster = Speed((1.25, 1.25))(tone)
    assert faster.shape == (1, 12_800)
    expected = torch.sin(2 * torch.pi * 625 * torch.arange(12_800) / 16_000)
    assert (faster[0] - expected)[300:-300].abs().max() < 0.01
    found = set()
    for seed in range(60):
        torch.manual_seed(seed)
        found.add(Speed((0.98, 1.02))(tone[:, :1000]).shape[1])
    assert found == {math.ceil(1000 * 100 / hundredths) for hundredths in range(98, 103)}


@settings(max_examples=30, deadline=None)
@given(samples=st.integers(1, 400), seed=st.integers(0, 2**31))
def test_a_segment_is_a_run_of_the_clip(samples: int, seed: int) -> None:
    torch.manual_seed(seed)
    given_clip = torch.arange(float(samples))[None]
    part = RandomSegment(0.01, 16_000)(given_clip)
    assert part.shape == (1, min(samples, 160))
    start = int(part[0, 0])
    assert torch.equal(part, given_clip[:, start : start + 160])


def test_segments_come_from_everywhere() -> None:
    starts = {int(RandomSegment(1, 8)(torch.arange(12.0)[None])[0, 0]) for _ in range(200)}
    assert starts == {0, 1, 2, 3, 4}


def test_a_chain_goes_in_order_and_sometimes_is_a_share() -> None:
    assert torch.equal(Chain([lambda x: x + 1, lambda x: 2 * x])(torch.ones(1, 3)), torch.full((1, 3), 4.0))
    torch.manual_seed(0)
    changed = sum(bool(Sometimes(lambda x: x + 1, 0.25)(torch.zeros(1, 1))) for _ in range(1000))
    assert 200 <= changed <= 300
    assert all(bool(Sometimes(lambda x: x + 1, 1)(torch.zeros(1, 1))) for _ in range(20))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gain((3, -3)), r"decibels is \[3, -3\]; two numbers with least <= most"),
        (lambda: Gain((float("nan"), 1)), "decibels is"),
        (lambda: Noise((1,)), r"snr is \[1\]"),
        (lambda: Roll(1.5), "share is 1.5"),
        (lambda: Speed((0.05, 1)), r"factors is \[0.05, 1\]; factors from 0.1 to 10"),
        (lambda: RandomSegment(0, 16_000), "seconds is 0; at 16000 Hz that is no sample"),
        (lambda: RandomSegment(1, 0), "sample_rate is 0"),
        (lambda: Sometimes(Gain(), 2), "probability is 2"),
    ],
)
def test_settings_that_cannot_be_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_an_equaliser_keeps_its_range_and_phase() -> None:
    torch.manual_seed(0)
    time = torch.arange(8000) / 8000
    for frequency in (100, 1000, 3000):
        tone = torch.sin(2 * torch.pi * frequency * time)[None]
        for _ in range(5):
            made = Equalise((-10.0, 10.0))(tone)
            gain = made.norm() / tone.norm()
            assert 10**-0.5 <= gain <= 10**0.5
            # The same tone, not shifted.
            torch.testing.assert_close(made, gain * tone, rtol=0, atol=2e-2)
    flat = Equalise((6.0, 6.0))(tone)
    torch.testing.assert_close(flat, tone * 10 ** (6 / 20), rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="points is 1; a curve needs at least 2"):
        Equalise(points=1)
