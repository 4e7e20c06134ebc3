"""What holds for every front end: batches change nothing, silence is the padding, settings travel as JSON."""

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from triptych.errors import UserError
from triptych.features.log_mel import LogMel
from triptych.features.mel_banks import MelBank
from triptych.features.mel_frames import KaldiFrames, StftFrames
from triptych.features.mel_logs import Decibels, FlooredLog, RangedLog, ShiftedLog
from triptych.features.mel_presets import PRESETS, ast
from triptych.features.waveforms import Waveforms

presets = pytest.mark.parametrize("name", list(PRESETS))


def noise(sizes: list[int], seed: int = 0) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=draw) / 10 for size in sizes]


@presets
@settings(max_examples=10, deadline=None)
@given(more=st.lists(st.integers(0, 20_000), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_a_clip_gives_the_same_bits_alone_and_in_any_batch(name: str, more: list[int], seed: int) -> None:
    front_end = PRESETS[name]()
    clips = noise([front_end.min_samples + extra for extra in more], seed)
    batch = Waveforms.of(clips, front_end.sample_rate)
    found = front_end(batch)
    assert found.lengths == tuple(front_end.count(len(clip)) for clip in clips)
    assert found.pad_value == front_end.pad_value
    assert found.frames.shape == (sum(found.lengths), front_end.mel_bins)
    for clip, frames in zip(clips, found, strict=True):
        assert torch.equal(front_end(clip), frames)
    rows, lengths = batch.padded()
    for given_lengths in (lengths, torch.tensor(lengths)):
        assert torch.equal(front_end(rows, given_lengths).frames, found.frames)
    backwards = front_end(batch[::-1])
    assert all(torch.equal(left, right) for left, right in zip(backwards[::-1], found, strict=True))


@presets
def test_the_road_of_a_gpu_gives_the_same_numbers(name: str) -> None:
    front_end = PRESETS[name]()
    clips = Waveforms.of(
        noise([front_end.min_samples + extra for extra in (0, 1, 9_999, 30_011)]), front_end.sample_rate
    )
    expected = front_end.unnormalised(clips)
    energies = front_end._all(clips, expected.lengths)
    torch.testing.assert_close(front_end.log(energies, expected.lengths), expected.frames, rtol=0, atol=1e-3)


@presets
def test_silence_is_the_pad_value(name: str) -> None:
    front_end = PRESETS[name]()
    frames = front_end(torch.zeros(front_end.sample_rate))
    assert (frames == front_end.silence).all()
    padded, _ = front_end(Waveforms.of([torch.zeros(9_000), torch.zeros(5_000)], front_end.sample_rate)).padded()
    assert (padded == front_end.pad_value).all()


def test_silence_of_ast() -> None:
    assert ast().silence == pytest.approx(-1.2776, abs=1e-4)


@presets
def test_the_shortest_clip_has_a_frame_and_a_shorter_one_is_refused(name: str) -> None:
    front_end = PRESETS[name]()
    least = front_end.min_samples
    assert front_end.count(least) == len(front_end(noise([least])[0])) >= 1
    assert front_end.count(least - 1) == 0
    with pytest.raises(UserError, match=f"a clip has {least - 1} samples, and one frame takes {least} "):
        front_end(Waveforms.of(noise([least, least - 1]), front_end.sample_rate))


@presets
def test_settings_travel_as_json(name: str) -> None:
    front_end = PRESETS[name]()
    again = LogMel.from_dict(json.loads(json.dumps(front_end.to_dict())))
    assert again == front_end
    clip = noise([front_end.sample_rate])[0]
    assert torch.equal(again(clip), front_end(clip))


@presets
def test_normalisation_goes_over_twice_the_standard_deviation(name: str) -> None:
    front_end = PRESETS[name]()
    clip = noise([front_end.sample_rate])[0]
    expected = (front_end.unnormalised(clip) - front_end.mean) / (2 * front_end.std)
    torch.testing.assert_close(front_end(clip), expected)


def test_autocast_and_low_precision_change_nothing() -> None:
    front_end, clip = ast(), noise([16_000])[0]
    expected = front_end(clip)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16):
            found = front_end(clip)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(found, expected)
    assert torch.equal(front_end(clip.double()), expected)
    assert front_end(clip.half()).dtype == torch.float32


def test_the_waveform_stays_as_it_was() -> None:
    for make in PRESETS.values():
        (clip,) = noise([20_000])
        kept = clip.clone()
        make()(clip)
        assert torch.equal(clip, kept)


def test_a_tone_is_loudest_in_the_bins_around_it() -> None:
    time = torch.arange(48_000)
    for make in PRESETS.values():
        front_end = make()
        frequencies = torch.linspace(0, front_end.sample_rate / 2, front_end.frames.n_fft // 2 + 1)
        bank = front_end.bank.matrix(front_end.sample_rate, front_end.frames.n_fft)
        for frequency in (440.0, 3000.0):
            tone = torch.sin(2 * torch.pi * frequency / front_end.sample_rate * time)
            loudest = int(front_end(tone)[3:-3].mean(0).argmax())
            around = frequencies[bank[:, loudest] > 0]
            step = float(frequencies[1])
            assert around.min() - step <= frequency <= around.max() + step


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KaldiFrames(window_length=513), "window_length is 513; it must be at least 2 and at most n_fft=512"),
        (lambda: KaldiFrames(hop_length=0), "hop_length is 0"),
        (lambda: KaldiFrames(n_fft=513), "n_fft is 513; it must be even"),
        (lambda: KaldiFrames(window="hamming"), "window is 'hamming'; it must be one of hann, povey"),
        (lambda: StftFrames(preemphasis=1.5), "preemphasis is 1.5"),
        (lambda: MelBank(0), "mel_bins is 0"),
        (lambda: MelBank(scale="mel"), "scale is 'mel'; it must be one of kaldi, htk, slaney"),
        (lambda: FlooredLog(0.0), "floor is 0.0; it must be above 0"),
        (lambda: ShiftedLog(-1.0), "shift is -1.0"),
        (lambda: Decibels(float("nan")), "floor is nan"),
        (lambda: RangedLog(decades=0.0), "decades is 0.0"),
        (lambda: ast(std=0.0), "std is 0.0; it must be above 0"),
        (lambda: LogMel(KaldiFrames(8_000), MelBank(high=5_000.0), FlooredLog()), "high=5000.0 Hz, but must"),
    ],
)
def test_settings_that_cannot_be_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_clips_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="have 8000 samples a second, and the model takes 16000 Hz: resample"):
        ast()(Waveforms.of(noise([8_000]), 8_000))
    with pytest.raises(ValueError, match="a batch of no clips"):
        ast()(Waveforms.of(noise([8_000]), 16_000)[1:])
    with pytest.raises(ValueError, match="rows of samples need `lengths`"):
        ast()(torch.zeros(2, 8_000))  # pyright: ignore[reportCallIssue, reportArgumentType]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "mfcc"}, "their kind must be log_mel"),
        ({"log": {"kind": "natural"}}, "log.kind is 'natural'; it must be one of floored, shifted, decibels, ranged"),
        ({"frames": {"kind": "kaldi", "dither": 1.0}}, "frames has no setting dither"),
        ({"bank": {"norm": 1}}, "bank has no setting norm"),
        ({"variance": 1}, "log_mel has no setting variance"),
    ],
)
def test_settings_of_another_version_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LogMel.from_dict({**ast().to_dict(), **change})
