"""Sounds of strangers: headers that lie, silence without end, names that are no files, and what only looks like one."""

import io
import struct
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.data import codec, whole_sound
from triptych.data.sound import Sounds
from triptych.data.source import BadSample

from .corpus import Scene, bounded, wav

RATE = 16_000
SOUNDS = Sounds(RATE)
SHORT = bytes(2 * RATE)
CODINGS = {"WAV": "PCM_16", "AIFF": "PCM_24", "AU": "ULAW", "FLAC": "PCM_16", "CAF": "ALAC_16", "W64": "FLOAT",
           "OGG": "VORBIS", "MP3": "MPEG_LAYER_III", "RF64": "DOUBLE", "OPUS": "OPUS",
           "CAF of PCM": "PCM_16"}  # fmt: skip
FREE = ["mp4", "adts", "matroska", "webm"]
"""Formats that FFmpeg reads."""


@pytest.fixture(scope="module", autouse=True)
def ready() -> None:
    """What is imported at the first sound is not the sound's."""
    SOUNDS.decode(wav(1, 44_100, bytes(88_200)))


def silence(form: str, samples: int, channels: int = 1, rate: int = RATE, loud: float = 0.0) -> bytes:
    file = io.BytesIO()
    container = {"OPUS": "OGG", "CAF of PCM": "CAF"}.get(form, form)
    with soundfile.SoundFile(file, "w", rate, channels, CODINGS[form], format=container) as sound:
        step = max(1, (1 << 16) // channels)
        for place in range(0, samples, step):
            count = min(step, samples - place)
            tone = loud * np.sin(np.arange(place, place + count) / 9) if loud else np.zeros(count, np.int16)
            sound.write(tone[:, None].repeat(channels, 1))
    return file.getvalue()


def coded(form: str, seconds: float, channels: int = 1) -> bytes:
    try:
        from torchcodec.encoders import AudioEncoder  # pyright: ignore[reportPrivateImportUsage]
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"torchcodec cannot be loaded: {str(error).splitlines()[0]}")
    rate = 48_000 if form == "webm" else RATE
    sound = 0.3 * torch.sin(torch.arange(round(seconds * rate)) / 9).expand(channels, -1)
    return bytes(AudioEncoder(sound.contiguous(), sample_rate=rate).to_tensor(format=form).numpy())


def flac(samples: int) -> bytes:
    """A FLAC of one second that says it has so many samples, which is a number of 36 bits."""
    content = bytearray(silence("FLAC", RATE))
    content[21] = content[21] & 0xF0 | samples >> 32
    content[22:26] = (samples & 0xFFFF_FFFF).to_bytes(4, "big")
    return bytes(content)


def aiff(channels: int, frames: int, rate: bytes, content: bytes) -> bytes:
    common = struct.pack(">hIh", channels, frames, 16) + rate
    chunks = b"COMM" + struct.pack(">I", 18) + common + b"SSND" + struct.pack(">III", len(content) + 8, 0, 0) + content
    return b"FORM" + struct.pack(">I", 4 + len(chunks)) + b"AIFF" + chunks


def au(size: int, channels: int, rate: int) -> bytes:
    return b".snd" + struct.pack(">IIIII", 24, size, 3, rate, channels) + SHORT


NORMAL, ENDLESS = b"\x40\x0c\xfa\x00" + bytes(6), b"\x7f\xfe" + b"\xff" * 8  # 16 kHz and 10^4932 Hz, of 80 bits
CHUNKS = b"junk\0\0\0\0" * (1 << 20)
LIES: dict[str, bytes] = {
    **{f"WAV at {rate} Hz": wav(1, rate, SHORT) for rate in (0, 1, 99, 2**31 - 1, 2**31, 2**32 - 1)},
    **{f"WAV of {channels} channels": wav(channels, RATE, SHORT) for channels in (0, 257, 1024, 65_535)},
    **{f"WAV of {said} bytes": wav(1, RATE, SHORT, said) for said in (0, 1, 40_000, 2**31 - 2**17)},
    **{f"FLAC of {samples} samples": flac(samples) for samples in (0, 2**28 + 1, 2**36 - 1)},
    **{f"AU of {size} bytes": au(size, 1, RATE) for size in (0, 2**31 - 2**17)},
    "AU of 2^31 channels": au(2**32 - 1, 2**31, RATE),
    "AU of 2^32 - 1 Hz": au(2**32 - 1, 1, 2**32 - 1),
    "AU at 1 Hz": au(2**32 - 1, 1, 1),
    "AIFF of endless Hz": aiff(1, RATE, ENDLESS, SHORT),
    "AIFF of 0 Hz": aiff(1, RATE, bytes(10), SHORT),
    "AIFF of 32,767 channels": aiff(32_767, RATE, NORMAL, SHORT),
    "AIFF of -1 channels": aiff(-1, RATE, NORMAL, SHORT),
    "a WAV of chunks": b"RIFF\xff\xff\xff\x7fWAVE" + CHUNKS,
    "a WAV of chunks behind its head": wav(1, RATE, b"")[:36] + CHUNKS,
    "an AIFF of chunks": b"FORM\x7f\xff\xff\xffAIFF" + CHUNKS,
    "an 8SVX of chunks": b"FORM\x7f\xff\xff\xff8SVX" + CHUNKS,
    "a FLAC of padding": b"fLaC\0\0\0\x22" + bytes(34) + b"\1\0\0\0" * (1 << 20),
    "an MP3 of heads": b"\xff\xfb\x90\0" * (1 << 20),
    "an MP3 of tags": b"ID3\4\0\0\0\0\0\0" * (1 << 18),
    "an Ogg of pages": b"OggS" * (1 << 20),
    "Ogg and nothing": b"OggS" + bytes(1 << 20),
    "AMR of 8 hours": b"#!AMR\n" + b"\x7c" + bytes(1 << 24),
    "MPEG-4 of nothing": b"\0\0\0\x14ftypM4A " + bytes(1 << 20),
    "MPEG-4 of boxes": b"\0\0\0\x14ftypM4A " + bytes(8) + b"\0\0\0\x08free" * (1 << 18),
    "WebM of nothing": b"\x1aE\xdf\xa3\x87\x42\x82\x84webm" + bytes(1 << 20),
    "AAC of empty frames": b"\xff\xf1\x50\x80\x01\x1f\xfc" * (1 << 16),
    "nothing": b"",
    "zeros": bytes(1 << 20),
}  # fmt: skip


@pytest.mark.parametrize("kind", LIES)
def test_a_head_that_lies_is_told(kind: str) -> None:
    with bounded(160, 5), pytest.raises(BadSample) as error:
        SOUNDS.decode(LIES[kind])
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("form", "said"), [("WAV", 2**32 - 1), ("WAV", 2**31), ("WAV", 0x7FFF_0000), ("AU", 2**32 - 1)]
)
def test_a_length_that_stands_for_none_is_that_of_the_file(form: str, said: int) -> None:
    with bounded(64, 2):
        assert SOUNDS.decode(wav(1, RATE, SHORT, said) if form == "WAV" else au(said, 1, RATE)).shape == (1, RATE)


@pytest.mark.parametrize(("form", "samples"), [("FLAC", 2**28), ("OGG", 2**22), ("OPUS", 2**22), ("MP3", 2**22)])
def test_hours_of_silence_are_told(form: str, samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = silence(form, samples + 1)
    assert len(data) < max(1 << 19, samples >> 8)
    monkeypatch.setattr("triptych.data.sound.MAX_SAMPLES", samples)
    with bounded(64, 2), pytest.raises(BadSample, match=f"above the limit of {samples} samples"):
        SOUNDS.decode(data)


def test_silence_of_many_channels_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    data = silence("OGG", (1 << 24) // 255 + 1, channels=255)
    assert len(data) < 1 << 14
    monkeypatch.setattr("triptych.data.sound.MAX_VALUES", 1 << 24)
    with bounded(64, 2), pytest.raises(BadSample, match="255 channels at 16000 Hz are above the limit of 16777216"):
        SOUNDS.decode(data)


def test_a_low_rate_is_brought_up_no_further_than_the_limit() -> None:
    with bounded(64, 2), pytest.raises(BadSample, match="above the limit of 268435456 samples"):
        SOUNDS.decode(wav(1, 100, bytes(2 * (2**28 // 160 + 1))))


@pytest.mark.parametrize("rate", [101, 8001, 44_101, 191_999, 9_999_991])
def test_rates_without_a_divisor_take_no_kernel_without_end(rate: int) -> None:
    """A minute of each, or two million samples."""
    count = min(1 << 21, 60 * rate)
    data = wav(1, rate, bytes(2 * count))
    with bounded(256, 5):
        assert SOUNDS.decode(data).shape[1] == -(-count * RATE // rate)


def test_what_is_brought_to_another_rate_takes_little_more_than_itself() -> None:
    data = silence("FLAC", 1 << 25, rate=48_000)
    SOUNDS.decode(silence("FLAC", 1 << 20, rate=48_000))
    with bounded(128 + 43 + 160, 10):
        assert SOUNDS.decode(data).shape == (1, -(-(1 << 25) // 3))


@pytest.mark.parametrize("form", ["mp4", "matroska"])
def test_hours_that_ffmpeg_would_unpack_are_told(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With limits of a minute, of which no head need tell."""
    data = coded(form, 100)
    monkeypatch.setattr("triptych.data.sound.MAX_SAMPLES", 60 * RATE)
    read: list[tuple[float, float]] = []
    real = codec.CodedSound.read
    monkeypatch.setattr(codec.CodedSound, "read", lambda self, *part: read.append(part) or real(self, *part))
    with pytest.raises(BadSample, match="above the limit of 960000 samples"):
        SOUNDS.decode(data)
    assert read == ([] if form == "mp4" else [(0.0, 61.0)])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("form", CODINGS)
def test_what_is_cut_is_told(form: str, share: float) -> None:
    data = silence(form, 2 * RATE, loud=0.5)
    with bounded(64, 2):
        try:
            found = SOUNDS.decode(data[: int(len(data) * share)])
        except BadSample:
            return
    # An MP3 is frames and nothing else; one that ends between two of them is whole.
    assert form == "MP3"
    assert 0 < found.shape[1] < 2 * RATE


NETWORK = b"\nv=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n" + b" " * 40_000
DISGUISED = {
    "AAC": b"\xff\xf1", "AAC of one frame": b"\xff\xf1\x50\x80\x01\x1f\xfc", "AAC of CRC": b"\xff\xf9",
    "MPEG-4": b"aaaaftypjp2 ", "MPEG-4 of pictures": b"\0\0\0\x14ftypjpx ", "WebM": b"\x1aE\xdf\xa3\xff",
    "WebM of a long head": b"\x1aE\xdf\xa3\x01\0\0\0\0\xff\xff\xffB\x82\x84webm",
    "no WebM": b"\x1aE\xdf\xa3\x87B\x82\x84wabm", "Windows Media": b"0&\xb2u",
    "a list": b"#EXTM3U\nhttp://127.0.0.1/a.ts\n", "lines": b"v=0\n",
    "parts": b"ffconcat version 1.0\nfile /etc/passwd\n", "DASH": b"<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'>",
}  # fmt: skip


@pytest.mark.parametrize("kind", DISGUISED)
def test_what_ffmpeg_would_take_for_something_else_never_reaches_it(
    kind: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It guesses by its own rules, and would open what a list of lines names."""
    asked: list[Any] = []
    monkeypatch.setattr(codec, "_decoders", lambda form: SimpleNamespace(AudioDecoder=asked.append))
    data = DISGUISED[kind] + NETWORK
    path = scene.here / "sound.aac"
    path.write_bytes(data)
    for given_file in (data, path):
        with bounded(64, 2), pytest.raises(BadSample):
            SOUNDS.segment(given_file, 0.0, None)
    assert asked == []


def changed(content: bytes, data: st.DataObject) -> bytes:
    """A few bytes of it set anew, most of them of its head; or cut, or doubled."""
    new = bytearray(content)
    for _ in range(data.draw(st.integers(1, 6))):
        most = min(len(new), data.draw(st.sampled_from([48, 200, len(content)])))
        place, how = data.draw(st.integers(0, most - 1)), data.draw(st.integers(0, 9))
        if how == 0:
            del new[place : place + data.draw(st.integers(1, 8))]
        elif how == 1:
            new[place:place] = new[place : place + 16]
        elif how == 2:
            new[place : place + 4] = data.draw(st.sampled_from([b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff"]))
        else:
            new[place] = data.draw(st.integers(0, 255))
        if not new:
            break
    return bytes(new)


@pytest.mark.parametrize("form", [*CODINGS, *FREE])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_change_gives_a_sound_or_a_message(form: str, data: st.DataObject) -> None:
    content = EXAMPLES.get(form) or EXAMPLES.setdefault(form, _example(form))
    part = data.draw(st.sampled_from([(0.0, None), (0.1, 0.2), (0.0, 1e9)]))
    with bounded(256, 10):
        try:
            found = SOUNDS.segment(changed(content, data), *part)
        except BadSample:
            return
    assert found.dtype == torch.float32
    assert found.shape[0] == 1
    assert found.isfinite().all()


EXAMPLES: dict[str, bytes] = {}


def _example(form: str) -> bytes:
    return coded(form, 0.4) if form in FREE else silence(form, 6400, channels=2, loud=0.5)


def test_a_walk_through_chunks_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before the samples, of which no writer makes many, are as many as there may be."""
    monkeypatch.setattr(whole_sound, "MOST_CHUNKS", 5)
    chunk = b"junk\0\0\0\0"
    whole = wav(1, RATE, SHORT)
    assert SOUNDS.decode(whole[:36] + 3 * chunk + whole[36:]).shape == (1, RATE)
    with pytest.raises(BadSample, match="no samples come in its first 5 chunks"):
        SOUNDS.decode(whole[:36] + 4 * chunk + whole[36:])
