"""The Kaldi front end gives torchaudio's numbers to the last bit, alone and in every batch, with one thread or two."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from triptych.features.log_mel import LogMel
from triptych.features.mel_banks import MelBank
from triptych.features.mel_frames import KaldiFrames
from triptych.features.mel_logs import FlooredLog
from triptych.features.mel_presets import ast, beats
from triptych.features.torchaudio_import import import_torchaudio
from triptych.features.waveforms import Waveforms

RATE = 16_000
AST = {"window_type": "hanning", "num_mel_bins": 128, "sample_frequency": RATE}


def fbank(clip: Tensor, **settings: object) -> Tensor:
    import_torchaudio()
    from torchaudio.compliance import kaldi

    return kaldi.fbank(clip[None], htk_compat=True, use_energy=False, dither=0.0, frame_shift=10, **settings)  # pyright: ignore


def clips(lengths: list[int], seed: int) -> list[Tensor]:
    """Noise, loud and soft, with an offset, and in part exactly silent."""
    draw = torch.Generator().manual_seed(seed)
    made = [
        torch.randn(length, generator=draw) * 10 ** float(-4 * torch.rand((), generator=draw)) for length in lengths
    ]
    for clip in made:
        clip += 0.1 * torch.rand((), generator=draw)
        clip[len(clip) // 2 : len(clip) * 3 // 4] = 0
    return made


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


lengths = st.one_of(st.integers(400, 2_500), st.integers(400, 40_000), st.integers(400, 200_000))


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(lengths, min_size=1, max_size=5), seed=st.integers(0, 2**31))
def _same_bits(sizes: list[int], seed: int) -> None:
    front_end, samples = ast().unnormalised, clips(sizes, seed)
    expected = [fbank(clip, **AST) for clip in samples]
    packed = Waveforms.of(samples, RATE)
    rows, counts = packed.padded()
    for found in (front_end(packed), front_end(rows, counts), [front_end(clip) for clip in samples]):
        assert all(torch.equal(left, right) for left, right in zip(found, expected, strict=True))
    assert [front_end.count(size) for size in sizes] == [len(each) for each in expected]


def test_bits_are_those_of_torchaudio(threads: int) -> None:
    _same_bits()


def test_the_shortest_clips_and_all_numbers_of_frames(threads: int) -> None:
    samples = clips([400 + 160 * extra + extra % 160 for extra in range(60)], 0)
    for clip, found in zip(samples, ast().unnormalised(Waveforms.of(samples, RATE)), strict=True):
        assert torch.equal(found, fbank(clip, **AST))


def test_a_clip_of_several_minutes() -> None:
    (clip,) = clips([RATE * 150], 3)
    assert torch.equal(ast().unnormalised(clip), fbank(clip, **AST))


@pytest.mark.parametrize("window", ["hann", "povey"])
@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
def test_other_rates_bins_and_windows(rate: int, window: str) -> None:
    length = int(rate * 0.025)
    frames = KaldiFrames(rate, length, rate // 100, 1 << (length - 1).bit_length(), window, preemphasis=0.9)
    front_end = LogMel(frames, MelBank(40, 60.0, rate / 2 - 200), FlooredLog())
    (clip,) = clips([rate], 1)
    expected = fbank(
        clip, sample_frequency=rate, num_mel_bins=40, low_freq=60.0, high_freq=-200.0, preemphasis_coefficient=0.9,
        window_type="hanning" if window == "hann" else "povey",
    )  # fmt: skip
    assert torch.equal(front_end(clip), expected)


def test_beats_takes_16_bit_numbers() -> None:
    (clip,) = clips([RATE], 2)
    expected = fbank(clip * 2**15, num_mel_bins=128, sample_frequency=RATE, frame_length=25)
    torch.testing.assert_close(beats()(clip), (expected - 15.41663) / (2 * 6.55582), rtol=0, atol=1e-6)
    assert torch.equal(beats().unnormalised(clip), expected)


def test_normalised_as_ast_does() -> None:
    (clip,) = clips([RATE], 2)
    torch.testing.assert_close(ast()(clip), (fbank(clip, **AST) + 4.2677393) / (2 * 4.5689974), rtol=0, atol=1e-6)
