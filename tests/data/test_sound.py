"""Sound files of every format: whole ones as they are, parts as slices of the whole, and what is wrong with others."""

import io
import math
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor

from triptych.data.sound import MAX_SAMPLES, Sounds
from triptych.data.source import BadSample
from triptych.errors import UserError

RATE = 16_000
EXACT = [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("FLAC", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "PCM_16")]
CODED = [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]


def noise(samples: int = RATE, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Whole numbers of 16 bits, divided by 2 ** 15."""
    drawn = np.random.default_rng(seed).integers(-20_000, 20_000, (samples, channels))
    return drawn.astype(np.float32) / 2**15


def tone(rate: int = RATE, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * math.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def saved(samples: np.ndarray, kind: str = "WAV", coding: str = "PCM_16", rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=coding)
    return buffer.getvalue()


def decoded(data: bytes, sample_rate: int = RATE, **settings: object) -> Tensor:
    return Sounds(sample_rate, **settings).decode(data)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("kind", "coding"), EXACT)
def test_whole_numbers_are_kept_exactly(kind: str, coding: str) -> None:
    found = decoded(saved(noise(), kind, coding))
    assert (found.dtype, found.shape) == (torch.float32, (1, RATE))
    assert torch.equal(found[0], torch.from_numpy(noise()[:, 0]))


@pytest.mark.parametrize("coding", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_every_width_lies_between_minus_one_and_one(coding: str) -> None:
    found = decoded(saved(tone(), "WAV", coding))[0]
    assert (found - torch.from_numpy(tone())).abs().max() < 0.02


@pytest.mark.parametrize(("kind", "coding"), CODED)
def test_a_coded_tone_stays_a_tone(kind: str, coding: str) -> None:
    found = decoded(saved(tone(), kind, coding))[0]
    assert found.shape == (RATE,)
    spectrum = torch.fft.rfft(found).abs()
    assert int(spectrum.argmax()) == 440
    assert 0.3 < float(found[4_000:-4_000].abs().max()) < 0.7


@given(frames=some.integers(800, 4000), start=some.floats(0, 0.9), share=some.floats(0.2, 1.0))
@settings(max_examples=25, deadline=None)
def test_a_part_is_a_slice_of_the_whole(frames: int, start: float, share: float) -> None:
    seconds = frames / RATE
    begin, end = start * seconds * 0.5, start * seconds * 0.5 + share * seconds * 0.5
    for kind, coding in EXACT[:3]:
        data = saved(noise(frames, seed=frames), kind, coding)
        whole = decoded(data, least_seconds=0.0)
        part = Sounds(RATE, least_seconds=0.0).segment(data, begin, end)
        assert torch.equal(part, whole[:, round(begin * RATE) : round(end * RATE)])


@pytest.mark.parametrize(("kind", "coding"), [*EXACT, *CODED])
def test_a_part_of_a_file_needs_no_more_than_it(kind: str, coding: str, tmp_path: Path) -> None:
    path = tmp_path / "sound.bin"
    path.write_bytes(saved(tone(seconds=4.0), kind, coding))
    sounds = Sounds(RATE)
    part, whole = sounds.segment(path, 1.5, 2.5), sounds.decode(path.read_bytes())
    assert part.shape == (1, RATE)
    # Decoders that carry a state from frame to frame are a little off where they start.
    assert (part - whole[:, 24_000:40_000])[:, 4_000:].abs().max() < 0.01
    assert torch.equal(sounds.segment(path, 3.5, None)[:, -4000:], sounds.segment(path, 3.5, 4.0)[:, -4000:])


def test_an_end_may_be_rounded_up(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(saved(noise()))
    assert torch.equal(Sounds(RATE).segment(path, 0.5, 1.02), Sounds(RATE).segment(path, 0.5, None))
    with pytest.raises(BadSample, match=r"no part from 0.5 to 1.03 s: it is 1 s long"):
        Sounds(RATE).segment(path, 0.5, 1.03)
    with pytest.raises(BadSample, match=r"no part from 1 to its end s: it is 1 s long"):
        Sounds(RATE).segment(path, 1.0, None)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 11_127, 44_101])
def test_other_rates_are_brought_to_the_one_that_is_wanted(rate: int) -> None:
    """Also those that have no large common divisor with it, of which a kernel would take gigabytes."""
    found = decoded(saved(tone(rate), rate=rate))[0]
    assert len(found) == RATE
    assert (found - torch.from_numpy(tone()))[200:-200].abs().max() < 0.02


def test_channels_become_one() -> None:
    two = noise(channels=2)
    data = saved(two)
    wanted = torch.from_numpy(two)
    torch.testing.assert_close(decoded(data)[0], wanted.mean(1))
    assert torch.equal(decoded(data, stereo="left")[0], wanted[:, 0])
    assert torch.equal(decoded(data, stereo="right")[0], wanted[:, 1])
    with pytest.raises(BadSample, match=r"it has 2 channels, and mono is asked for: allow data.stereo=mean"):
        decoded(data, stereo="refuse")
    assert torch.equal(decoded(saved(two[:, :1]), stereo="refuse")[0], wanted[:, 0])


def test_another_rate_may_be_refused() -> None:
    with pytest.raises(BadSample, match=r"its sample rate is 8000 Hz and 16000 Hz is asked for: allow data.resampling"):
        decoded(saved(tone(8_000), rate=8_000), resampling=False)
    assert decoded(saved(tone()), resampling=False).shape == (1, RATE)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"the file is empty \(0 bytes\)"),
        (b"not a sound, but words of some length" * 9, "not a sound of a known format"),
        (bytes(100), "not a sound of a known format"),
        (saved(np.zeros((0, 1), np.float32)), "it has no samples"),
        (saved(noise(399)), r"it is 0.0249375 s long, shorter than one frame \(0.025 s\)"),
    ],
    ids=["empty", "words", "zeros", "no samples", "short"],
)
def test_what_is_no_sound_is_a_bad_sample(data: bytes, reason: str) -> None:
    with pytest.raises(BadSample, match=reason):
        decoded(data)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_samples_must_be_finite(bad: float) -> None:
    samples = noise()
    samples[5], samples[700] = bad, bad
    with pytest.raises(BadSample, match=r"2 of its 16000 samples are not finite \(NaN\)"):
        decoded(saved(samples, "WAV", "FLOAT"))


@pytest.mark.parametrize(("kind", "coding"), [*EXACT, *CODED])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_a_file_that_is_cut_short_is_a_bad_sample(kind: str, coding: str, share: float) -> None:
    data = saved(noise()[:, 0] * 0.3 + tone(), kind, coding)
    with pytest.raises(BadSample, match=r"cut short|damaged"):
        decoded(data[: int(len(data) * share)])


@pytest.mark.parametrize("length", [0xFFFF_FFFF, 0x7FFF_FFFF])
def test_a_length_that_a_pipe_did_not_know_is_no_fault(length: int) -> None:
    data = bytearray(saved(noise()))
    data[4:8] = data[40:44] = struct.pack("<I", length)
    assert torch.equal(decoded(bytes(data)), decoded(saved(noise())))


def test_a_promise_of_endless_samples_takes_no_memory() -> None:
    data = bytearray(saved(noise(), "FLAC", "PCM_16"))
    data[21] |= 0x0F
    data[22:26] = b"\xff\xff\xff\xff"
    with pytest.raises(BadSample, match=rf"1193.0 hours at 16000 Hz are above the limit of {MAX_SAMPLES} samples"):
        decoded(bytes(data))


@given(kind=some.sampled_from([*EXACT, *CODED]), seed=some.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_damage_never_ends_in_another_error(kind: tuple[str, str], seed: int) -> None:
    # Nor in a traceback that libsndfile's callbacks would print: pytest takes that for an error.
    random = np.random.default_rng(seed)
    data = bytearray(saved(noise(2000), *kind))
    for place in random.integers(0, min(len(data), 4 ** random.integers(2, 8)), random.integers(1, 12)):
        data[place] = random.integers(0, 256)
    try:
        found = decoded(bytes(data))
    except BadSample:
        return
    assert found.ndim == 2
    assert bool(found.isfinite().all())


def test_files_that_cannot_be_opened_are_bad_samples(tmp_path: Path) -> None:
    with pytest.raises(BadSample, match="cannot be opened: No such file"):
        Sounds(RATE).segment(tmp_path / "none.wav", 0.0, None)
    with pytest.raises(BadSample, match="cannot be opened: Is a directory"):
        Sounds(RATE).segment(tmp_path, 0.0, None)
    if os.geteuid():
        (tmp_path / "locked.wav").write_bytes(saved(noise()))
        (tmp_path / "locked.wav").chmod(0)
        with pytest.raises(BadSample, match="cannot be opened: Permission"):
            Sounds(RATE).segment(tmp_path / "locked.wav", 0.0, None)


def test_settings_out_of_range_are_told() -> None:
    with pytest.raises(UserError, match="sample_rate is 0; it must be at least 1 Hz"):
        Sounds(0)
    with pytest.raises(UserError, match="stereo is 'both'; it must be one of mean, left, right, refuse"):
        Sounds(RATE, stereo="both")
