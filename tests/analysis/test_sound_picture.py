"""What stands for a sound in a picture is the spectrogram that the model sees: time to the right, high bands above."""

import numpy as np
import pytest
import torch

from triptych.analysis.sound_picture import picture_of, spectrogram_picture
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.mel_presets import ast
from triptych.features.preprocess import Preprocess

from ..sounds import RATE, tone

PREPROCESS = AudioPreprocess(ast(mel_bins=32, sample_rate=RATE), 0.3)


def brightest_row(picture: torch.Tensor) -> int:
    return int(picture.float().sum(0).mean(1).argmax())


def test_a_higher_tone_lies_higher_and_time_goes_to_the_right() -> None:
    rows = [
        brightest_row(picture_of(torch.from_numpy(tone(pitch))[None], PREPROCESS)) for pitch in (300, 800, 1800, 3200)
    ]
    assert rows == sorted(rows, reverse=True)
    assert len(set(rows)) == 4
    late = np.concatenate([np.zeros(800, np.float32), tone(800, 0.1)])
    picture = picture_of(torch.from_numpy(late)[None], PREPROCESS).float().sum(0)
    half = picture.shape[1] // 2
    assert picture[:, half + 3 :].mean() > 2 * picture[:, : half - 3].mean()


@pytest.mark.parametrize("seconds", [0.1, 0.3, 2.0])
def test_it_is_as_wide_as_the_frames_that_the_model_sees(seconds: float) -> None:
    clip = torch.from_numpy(tone(500, seconds))[None]
    picture = picture_of(clip, PREPROCESS)
    frames = PREPROCESS(clip).lengths[0]
    assert picture.dtype == torch.uint8
    assert tuple(picture.shape) == (3, 32, frames)
    middle = PREPROCESS.cut(clip)
    assert torch.equal(picture, picture_of(middle, PREPROCESS))


def test_the_colours_span_the_values_of_the_clip() -> None:
    mel = torch.randn(50, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(spectrogram_picture(mel), spectrogram_picture(2 * mel - 5)), "gain and offset change nothing"
    lightness = spectrogram_picture(mel).float().mean(0)
    assert lightness.min() < 5
    assert lightness.max() > 200
    silence = spectrogram_picture(torch.full((9, 32), -1.2))
    assert silence.unique().numel() <= 3, "one colour"


def test_an_image_stands_for_itself() -> None:
    image = torch.randint(0, 256, (3, 8, 9), dtype=torch.uint8)
    assert picture_of(image, Preprocess((4, 4))) is image
