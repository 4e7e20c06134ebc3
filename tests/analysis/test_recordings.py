"""What is listened to is the sound of the sample that it is said to be."""

import io

import numpy as np
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from triptych.analysis.mistakes import worst_mistakes
from triptych.analysis.recordings import MOST_SECONDS, Recording, worst_recordings
from triptych.analysis.results import ClassificationResults

RATE = 8000


def waveform_of(index: int) -> Tensor:
    return 0.5 * torch.rand(1, 400 + 10 * index, generator=torch.Generator().manual_seed(index)) - 0.25


@given(samples=st.integers(1, 20), most=st.integers(1, 20))
@settings(deadline=None, max_examples=20)
def test_each_worst_mistake_can_be_heard(samples: int, most: int) -> None:
    generator = torch.Generator().manual_seed(samples)
    logits, labels = torch.randn(samples, 3, generator=generator), torch.randint(3, (samples,), generator=generator)
    results = ClassificationResults(logits, labels, torch.arange(samples), None, ["cat", "dog", "owl"])
    found = worst_recordings(results, waveform_of, RATE, most, lambda index: f"folder/{index}.wav")
    wrong = worst_mistakes(results, most)
    assert len(found) == len(wrong)
    for recording, mistake in zip(found, wrong, strict=True):
        heard, rate = soundfile.read(io.BytesIO(recording.flac), dtype="float32")
        assert rate == RATE
        np.testing.assert_allclose(heard, waveform_of(mistake.index)[0].numpy(), atol=2**-15)
        assert recording.caption == (
            f"{mistake.true}, heard as {mistake.predicted} ({mistake.confidence:.0%}) · {mistake.index}.wav"
        )


def test_of_a_long_sound_the_middle_is_heard_and_no_sample_wraps_around() -> None:
    middle = round(MOST_SECONDS * RATE)
    sound = torch.cat((torch.zeros(1, 500), torch.full((1, middle), 1.5), torch.zeros(1, 501)), dim=1)
    heard, _ = soundfile.read(io.BytesIO(Recording.of(sound, RATE, "loud").flac), dtype="float32")
    assert len(heard) == middle
    assert heard.min() > 0.999
