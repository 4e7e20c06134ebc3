"""A file becomes the pieces that a model takes, and what is said of them becomes one answer, or one a window."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from triptych.data.sound import Sounds
from triptych.data.source import BadSample
from triptych.evaluation.asking import Asked, answers, reading_of
from triptych.evaluation.given import GivenModel
from triptych.evaluation.inference import Forward
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.mel_presets import ast
from triptych.features.preprocess import Preprocess
from triptych.features.spectrograms import Spectrograms

from ..sounds import RATE, encode, tone

PREPROCESS = AudioPreprocess(ast(mel_bins=32, sample_rate=RATE), 0.3)
NAMES = ["a", "b", "c"]


class Mean(nn.Module):
    """Logits of three classes from the mean of a clip's frames."""

    def forward(self, given: Spectrograms) -> torch.Tensor:
        return torch.stack([clip.mean(0)[:3] for clip in given])


def model(multi_label: bool | None = False, preprocess: AudioPreprocess | Preprocess = PREPROCESS) -> GivenModel:
    return GivenModel(Mean(), Path("model"), NAMES, multi_label, preprocess)


@settings(deadline=None, max_examples=30)
@given(seconds=st.floats(0.05, 2.0), hop=st.one_of(st.none(), st.floats(0.02, 1.0)))
def test_windows_cover_the_recording_from_start_to_end(seconds: float, hop: float | None) -> None:
    signal = tone(400, seconds)
    pieces = reading_of(model(), hop).pieces(encode(signal))
    window = round(0.3 * RATE)
    assert pieces[0].start == 0.0
    for piece in pieces:
        assert piece.start is not None
        assert piece.seconds == piece.sample.shape[1] / RATE
        first = round(piece.start * RATE)
        assert np.array_equal(piece.sample[0].numpy(), signal[first : first + min(window, len(signal))])
    last = pieces[-1]
    assert last.start is not None
    assert round(last.start * RATE) + last.sample.shape[1] == len(signal), "the last one ends where the sound ends"
    steps = np.diff([piece.start or 0.0 for piece in pieces])
    wanted = 0.15 if hop is None else hop
    assert np.all(steps > 0)
    assert np.allclose(steps[:-1], wanted, atol=1 / RATE)


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_answer_is_the_mean_of_the_pieces(multi_label: bool) -> None:
    given_model = model(multi_label)
    reading = reading_of(given_model, 0.1)
    asked = [
        Asked(name, reading.pieces(encode(tone(pitch, seconds))))
        for name, pitch, seconds in (("x", 300, 0.9), ("y", 1800, 0.2), ("z", 800, 0.5))
    ]
    forward = Forward(given_model.model, PREPROCESS, torch.device("cpu"), "32-true")
    settings_of = {"batch_size": 2, "top": 3, "threshold": 0.0, "over_time": False}
    told = list(answers(asked, forward, given_model, NAMES, settings_of))
    each = list(answers(asked, forward, given_model, NAMES, {**settings_of, "over_time": True, "batch_size": 50}))
    assert [one.name for one in told] == ["x", "y", "z"]
    assert len(each) == sum(len(one.pieces) for one in asked)
    assert each[0].name == "x 0.00-0.30 s"
    assert each[1].name == "x 0.10-0.40 s"
    place = 0
    for one, answer in zip(asked, told, strict=True):
        windows = each[place : place + len(one.pieces)]
        place += len(one.pieces)
        for name, value in answer.classes:
            assert value == pytest.approx(np.mean([dict(window.classes)[name] for window in windows]), abs=1e-6)
        if not multi_label:
            assert sum(dict(answer.classes).values()) == pytest.approx(1)


def test_several_labels_below_the_threshold_are_not_told() -> None:
    given_model = model(True)
    asked = [Asked("x", reading_of(given_model).pieces(encode(tone(300))))]
    forward = Forward(given_model.model, PREPROCESS, torch.device("cpu"), "32-true")
    told = [
        next(answers(asked, forward, given_model, NAMES,
                     {"batch_size": 9, "top": 3, "threshold": threshold, "over_time": False})).classes
        for threshold in (0.0, 1.0)
    ]  # fmt: skip
    assert [len(best) for best in told] == [3, 0]


def test_a_reading_is_of_the_model_s_medium() -> None:
    sounds = reading_of(model()).medium
    assert isinstance(sounds, Sounds)
    assert sounds.sample_rate == RATE
    assert sounds.least_seconds == pytest.approx(PREPROCESS.min_seconds)
    with pytest.raises(BadSample, match="shorter than"):
        reading_of(model()).pieces(encode(tone(300, 0.02)))
    assert reading_of(model(preprocess=Preprocess((8, 8)))).medium.many == "images"
