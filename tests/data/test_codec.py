"""Formats that libsndfile does not read are as good as any other, where torchcodec is installed; else one message says
what is missing.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from triptych.data.sound import Sounds
from triptych.data.source import BadSample

RATE = 16_000
HEADERS = {
    "MPEG-4": bytes(4) + b"ftypM4A " + bytes(90),
    "Matroska or WebM": b"\x1aE\xdf\xa3\x8b\x42\x82\x88matroska" + bytes(90),
}


@pytest.fixture(scope="module")
def encode() -> object:
    """Tone of 1 s and 440 Hz in the left, 880 Hz in the right channel, in a format of FFmpeg."""
    try:
        from torchcodec.encoders import AudioEncoder  # pyright: ignore[reportPrivateImportUsage]
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"torchcodec cannot be loaded: {str(error).splitlines()[0]}")

    def made(form: str, channels: int = 1, rate: int = RATE) -> bytes:
        return bytes(AudioEncoder(sound(channels, rate), sample_rate=rate).to_tensor(format=form).numpy())

    return made


def sound(channels: int = 1, rate: int = RATE) -> torch.Tensor:
    time = torch.arange(rate) / rate
    return torch.stack([0.3 * torch.sin(2 * torch.pi * 440 * (place + 1) * time) for place in range(channels)])


@pytest.mark.parametrize(("form", "rate"), [("mp4", RATE), ("adts", RATE), ("matroska", RATE), ("webm", 48_000)])
def test_they_hold_the_sound_that_was_put_in(encode: object, form: str, rate: int, tmp_path: Path) -> None:
    data = encode(form, rate=rate)  # pyright: ignore
    found = Sounds(RATE).decode(data)
    (tmp_path / "sound").write_bytes(data)
    assert torch.equal(found, Sounds(RATE).segment(tmp_path / "sound", 0.0, None))
    assert abs(found.shape[1] - RATE) <= (0 if form == "mp4" else 0.15 * RATE), "an AAC stream alone has no length"
    spectrum = torch.fft.rfft(found[0, 4000:12_000]).abs()
    assert int(spectrum.argmax()) * 2 == 440
    assert found.abs().max() == pytest.approx(0.3, abs=0.1)


def test_a_part_is_a_part_of_the_whole_and_channels_become_one(encode: object) -> None:
    data = encode("mp4", channels=2)  # pyright: ignore
    whole = Sounds(RATE, stereo="right").decode(data)
    part = Sounds(RATE, stereo="right").segment(data, 0.25, 0.75)
    np.testing.assert_allclose(part.numpy(), whole[:, 4000:12_000].numpy(), atol=1e-4)
    assert int(torch.fft.rfft(part[0]).abs().argmax()) * 2 == 880
    with pytest.raises(BadSample, match="it has 2 channels, and mono is asked for"):
        Sounds(RATE, stereo="refuse").decode(data)
    with pytest.raises(BadSample, match=r"no part from 0.5 to 1.1 s: it is 1 s long"):
        Sounds(RATE).segment(data, 0.5, 1.1)


def test_what_is_damaged_is_a_bad_sample(encode: object) -> None:
    data = encode("mp4")  # pyright: ignore
    for broken in (data[: len(data) // 2], HEADERS["MPEG-4"]):
        with pytest.raises(BadSample, match=r"not a sound of the format MPEG-4 \(m4a, mp4\), or damaged: [A-Z]"):
            Sounds(RATE).decode(broken)


@pytest.mark.parametrize("form", HEADERS)
def test_without_torchcodec_the_message_says_what_to_install(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    with pytest.raises(
        BadSample, match=rf"it is {form}.* pip install 'triptych\[codec\]', or convert the sound to FLAC"
    ):
        Sounds(RATE).decode(HEADERS[form])
