"""Front ends of known models against the code that users know them by."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from triptych.features.log_mel import LogMel
from triptych.features.mel_presets import ast, clap, passt, whisper
from triptych.features.torchaudio_import import import_torchaudio


@pytest.fixture(autouse=True)
def torchaudio() -> ModuleType:
    return import_torchaudio()


def tone(front_end: LogMel, seconds: float, seed: int = 0) -> Tensor:
    """A chirp in noise."""
    time = torch.arange(int(seconds * front_end.sample_rate)) / front_end.sample_rate
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(seed))
    return 0.3 * torch.sin(2 * torch.pi * (200 + 700 * time) * time) + 0.01 * noise


@pytest.mark.parametrize("path", ["torchaudio", "numpy"])
@pytest.mark.parametrize("seconds", [0.2, 1.0, 3.3])
def test_ast_of_transformers(seconds: float, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.audio_spectrogram_transformer import feature_extraction_audio_spectrogram_transformer as m

    monkeypatch.setattr(m, "is_speech_available", lambda: path == "torchaudio")
    front_end = ast()
    clip = tone(front_end, seconds)
    ours = front_end(clip)
    extractor: Any = m.ASTFeatureExtractor(max_length=len(ours) + 3)
    theirs = extractor(clip.numpy(), sampling_rate=16_000, return_tensors="pt")["input_values"][0]
    torch.testing.assert_close(ours, theirs[: len(ours)], rtol=0, atol=1e-6 if path == "torchaudio" else 2e-4)
    # What transformers puts behind a clip is not what silence looks like; ours is.
    assert (theirs[len(ours) :] - 0.467).abs().max() < 1e-3
    torch.testing.assert_close(front_end(torch.zeros(16_000))[0], torch.full((128,), front_end.pad_value))


@pytest.mark.parametrize("mel_bins", [80, 128])
def test_whisper_of_transformers(mel_bins: int) -> None:
    from transformers import WhisperFeatureExtractor

    front_end = whisper(mel_bins)
    clip = F.pad(tone(front_end, 4.2), (0, 16_000))  # whose end is silent, as Whisper pads it
    extractor: Any = WhisperFeatureExtractor(feature_size=mel_bins)
    theirs = torch.as_tensor(extractor(clip.numpy(), sampling_rate=16_000, return_tensors="np")["input_features"][0]).T
    ours = front_end(clip)
    assert len(ours) == 520
    torch.testing.assert_close(ours, theirs[:520], rtol=0, atol=2e-4)
    full = front_end(F.pad(clip, (0, 480_000 - len(clip))))
    assert full.shape == theirs.shape == (3000, mel_bins)
    torch.testing.assert_close(full, theirs, rtol=0, atol=2e-4)


def test_clap_of_transformers() -> None:
    from transformers import ClapFeatureExtractor

    front_end = clap()
    clip = tone(front_end, 10)
    extractor: Any = ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc")
    theirs = extractor(clip.numpy(), sampling_rate=48_000, return_tensors="np")["input_features"][0, 0]
    torch.testing.assert_close(front_end(clip), torch.as_tensor(theirs).float(), rtol=0, atol=0.02)
    assert np.ptp(theirs) > 60


@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_passt_from_its_formula(seconds: float) -> None:
    """Preemphasis over the whole clip, a centred STFT, Kaldi's bank to 15 kHz, log(x + 1e-5), (x + 4.5) / 5."""
    from torchaudio.compliance.kaldi import get_mel_banks

    front_end = passt()
    clip = tone(front_end, seconds)
    emphasised = F.conv1d(clip[None, None], torch.tensor([[[-0.97, 1.0]]]))[0]
    window = torch.hann_window(800, periodic=False)
    spectrum = torch.stft(emphasised, 1024, 320, 800, window, center=True, return_complex=True)[0]
    bank = F.pad(get_mel_banks(128, 1024, 32_000.0, 0.0, 15_000.0, 100.0, -500.0, 1.0)[0], (0, 1))
    expected = (((bank @ spectrum.abs().square()) + 1e-5).log() + 4.5) / 5
    torch.testing.assert_close(front_end(clip), expected.T, rtol=0, atol=2e-4)
