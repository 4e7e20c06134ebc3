"""Sound files come out as the signal that was written, at the rate that is wanted; what is not whole is refused."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.data.sound import EXTENSIONS, Sounds
from triptych.data.source import BadSample
from triptych.errors import UserError
from triptych.features.resample import resample

# Format and coding, the most that a sample may differ, and the rate that it is written at.
FORMATS: dict[str, tuple[str, str, float, int]] = {
    "wav": ("WAV", "PCM_16", 4e-5, 8000),
    "wav of 24 bits": ("WAV", "PCM_24", 3e-7, 8000),
    "wav of 32 bits": ("WAV", "PCM_32", 3e-7, 8000),
    "wav of floats": ("WAV", "FLOAT", 0, 8000),
    "wav of doubles": ("WAV", "DOUBLE", 0, 8000),
    "wav of 8 bits": ("WAV", "PCM_U8", 8e-3, 8000),
    "wav, mu law": ("WAV", "ULAW", 2e-2, 8000),
    "flac": ("FLAC", "PCM_16", 4e-5, 8000),
    "flac of 24 bits": ("FLAC", "PCM_24", 3e-7, 8000),
    "aiff": ("AIFF", "PCM_16", 4e-5, 8000),
    "au": ("AU", "PCM_16", 4e-5, 8000),
    "caf": ("CAF", "PCM_16", 4e-5, 8000),
    "w64": ("W64", "PCM_16", 4e-5, 8000),
    "ogg vorbis": ("OGG", "VORBIS", 0.08, 8000),
    "ogg opus": ("OGG", "OPUS", 0.15, 8000),
    "mp3": ("MP3", "MPEG_LAYER_III", 0.08, 16000),
}


def tone(seconds: float = 0.5, rate: int = 8000, pitch: float = 440.0) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * pitch * time) * np.hanning(len(time))).astype(np.float32)


def encode(signal: np.ndarray, rate: int = 8000, form: str = "WAV", coding: str = "FLOAT") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, signal, rate, format=form, subtype=coding)
    return file.getvalue()


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_comes_out_as_it_went_in(name: str) -> None:
    form, coding, most, rate = FORMATS[name]
    if coding not in soundfile.available_subtypes(form):
        pytest.skip(f"libsndfile {soundfile.__libsndfile_version__} writes no {name}")
    signal = tone(rate=rate)
    data = encode(signal, rate, form, coding)
    found = Sounds(rate).decode(data)
    assert found.dtype == torch.float32
    assert found.shape == (1, len(signal))
    assert float((found[0] - torch.from_numpy(signal)).abs().max()) <= most
    # At another rate: what resampling makes of the decoded signal, which is about the tone drawn at that rate.
    for other in (rate // 2, 3 * rate // 2, 11025):
        moved = Sounds(other).decode(data)
        assert torch.equal(moved, resample(found, rate, other))
        drawn = torch.from_numpy(tone(rate=other))
        assert abs(moved.shape[1] - len(drawn)) <= 1
        length = min(moved.shape[1], len(drawn))
        assert float((moved[0, :length] - drawn[:length]).abs().max()) <= most + 0.02


def test_endings_name_formats_that_are_known() -> None:
    known = {"wav", "flac", "ogg", "mp3", "aiff", "au", "caf", "w64"}
    same = {"oga": "ogg", "opus": "ogg", "aif": "aiff"}
    assert {same.get(ending, ending) for ending in EXTENSIONS} == known
    assert known <= {name.lower() for name in soundfile.available_formats()}


@pytest.mark.parametrize("rate", [8000, 12000])
def test_channels_become_one(rate: int) -> None:
    left, right = tone(pitch=300), tone(pitch=500)
    data = encode(np.stack([left, right], axis=1))
    for stereo, wanted in (("mean", (left + right) / 2), ("left", left), ("right", right)):
        whole = resample(torch.from_numpy(wanted)[None], 8000, rate)
        torch.testing.assert_close(Sounds(rate, stereo).decode(data), whole, rtol=0, atol=1e-6)
    with pytest.raises(BadSample, match=r"it has 2 channels, and mono is asked for: allow data\.stereo=mean"):
        Sounds(rate, "refuse").decode(data)
    assert Sounds(rate, "refuse").decode(encode(left)).shape[0] == 1
    with pytest.raises(UserError, match=r"stereo is 'both'; it must be one of mean, left, right, refuse"):
        Sounds(rate, "both")
    with pytest.raises(UserError, match="sample_rate is 0; it must be at least 1 Hz"):
        Sounds(0)


@settings(deadline=None, max_examples=30)
@given(start=st.integers(0, 3500), length=st.integers(300, 4000), form=st.sampled_from(["WAV", "FLAC"]))
def test_a_segment_is_that_slice_of_the_whole(start: int, length: int, form: str) -> None:
    coding = {"WAV": "FLOAT", "FLAC": "PCM_24"}[form]
    data = encode(tone(), form=form, coding=coding)
    whole, sounds = Sounds(8000).decode(data), Sounds(8000)
    end = min(4000, start + length)
    assert torch.equal(sounds.segment(data, start / 8000, end / 8000), whole[:, start:end])
    assert torch.equal(sounds.segment(data, start / 8000, None), whole[:, start:])


def test_a_segment_of_a_long_file_does_not_read_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.resize(tone(), 8000 * 60), 8000)
    read: list[int] = []
    original = soundfile.SoundFile.read

    def counted(self: Any, frames: int = -1, **options: Any) -> np.ndarray:
        part = original(self, frames, **options)
        read.append(len(part))
        return part

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    found = Sounds(8000).segment(path, 30.0, 30.5)
    assert sum(read) == found.shape[1] == 4000


def test_a_segment_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, tone(), 8000)
    sounds = Sounds(8000)
    with pytest.raises(BadSample, match=r"has no part from 0\.2 to 0\.7 s: it is 0\.5 s long"):
        sounds.segment(path, 0.2, 0.7)
    with pytest.raises(BadSample, match=r"has no part from 0\.5 to its end s: it is 0\.5 s long"):
        sounds.segment(path, 0.5, None)
    with pytest.raises(BadSample, match="cannot be opened: no such file"):
        sounds.segment(tmp_path / "gone.wav", 0.0, None)
    with pytest.raises(BadSample, match="the file is empty"):
        sounds.segment(b"", 0.0, 0.1)
    (tmp_path / "some.raw").write_bytes(b"\0" * 100)
    with pytest.raises(BadSample, match="not a sound of a known format"):
        sounds.segment(tmp_path / "some.raw", 0.0, None)


def with_frames(data: bytes, frames: int) -> bytes:
    """A FLAC file whose header says that it has so many frames; 0 is how a stream says that it does not know."""
    word = int.from_bytes(data[18:26], "big")
    return data[:18] + ((word >> 36 << 36) | frames).to_bytes(8, "big") + data[26:]


def with_size(data: bytes, size: int) -> bytes:
    """A WAV file whose header says that it has so many bytes of sound."""
    place = data.index(b"data") + 4
    return data[:place] + size.to_bytes(4, "little") + data[place + 4 :]


FLAC, WAV = encode(tone(), form="FLAC", coding="PCM_16"), encode(tone(), coding="PCM_16")
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", r"the file is empty \(0 bytes\)"),
    "text": (b"a readme, and no sound\n" * 40, r"not a sound of a known format, or damaged: Format not recogni[sz]ed"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a sound of a known format, or damaged"),
    "without samples": (encode(np.zeros(0, np.float32)), "it has no samples"),
    "not a number": (encode(np.where(np.arange(4000) == 7, np.nan, tone())), "1 of its 4000 samples are not finite"),
    "infinite": (encode(np.where(np.arange(4000) < 9, np.inf, tone())), "9 of its 4000 samples are not finite"),
    "flac cut short": (FLAC[: len(FLAC) // 2], "not a sound of a known format, or damaged: .*lost sync|cut short"),
    "wav cut short": (WAV[:2044], r"cut short: 2000 of its 8000 bytes of sound are there"),
    "aiff cut short": (encode(tone(), form="AIFF", coding="PCM_16")[:2000], r"cut short: \d+ of its 8008 bytes"),
    "au cut short": (encode(tone(), form="AU", coding="PCM_16")[:2000], r"cut short: \d+ of its 8000 bytes"),
    "vorbis cut short": (encode(tone(), form="OGG", coding="VORBIS")[:1500], "not a sound of .*|cut short"),
    "mp3 cut short": (encode(tone(1, 16000), 16000, "MP3", "MPEG_LAYER_III")[:1200], "cut short: .* of its 16000"),
    "a header alone": (WAV[:44], "cut short|it has no samples"),
    "a header that lies": (with_frames(FLAC, 2**36 - 1), "not a sound of .*|cut short: 4000 of its 68719476735"),
    "a stream": (with_frames(FLAC, 0), "its header does not say how long it is: write the file anew"),
    "short": (encode(tone(0.02)), r"it is 0\.02 s long, shorter than the 0\.025 s that are needed"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_sound_is_a_bad_sample_with_its_reason(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data, reason = BAD[name]
    with pytest.raises(BadSample, match=reason) as found:
        Sounds(8000).decode(data)
    assert "object at 0x" not in str(found.value)
    assert len(str(found.value)) < 200


def test_a_stream_of_unknown_length_is_read_to_its_end() -> None:
    whole = Sounds(8000).decode(WAV)
    for size in (0xFFFF_FFFF, 0x7FFF_F000):
        assert torch.equal(Sounds(8000).decode(with_size(WAV, size)), whole)


def test_long_sounds_are_read_in_blocks() -> None:
    signal = np.resize(tone(), (1 << 20) + 12345)
    assert torch.equal(Sounds(8000).decode(encode(signal))[0], torch.from_numpy(signal))
    signal = signal[: 1 << 20]
    assert torch.equal(Sounds(8000).decode(encode(signal))[0], torch.from_numpy(signal))


def test_another_rate_can_be_refused() -> None:
    sounds = Sounds(16000, resampling=False)
    with pytest.raises(BadSample, match=r"its sample rate is 8000 Hz and 16000 Hz is asked for: allow data\.resampl"):
        sounds.decode(WAV)
    assert Sounds(8000, resampling=False).decode(WAV).shape == (1, 4000)


@pytest.mark.parametrize("samples", [400, 1023, 1024, 1025])
def test_the_shortest_sound_that_is_taken(samples: int) -> None:
    sounds = Sounds(48000, least_seconds=1024 / 48000)
    data = encode(np.resize(tone(), samples), 48000)
    if samples < 1024:
        with pytest.raises(BadSample, match="shorter than"):
            sounds.decode(data)
    else:
        assert sounds.decode(data).shape == (1, samples)
