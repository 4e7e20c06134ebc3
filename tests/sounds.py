"""Small synthetic sounds that tests of several rooms share."""

import io
from pathlib import Path

import numpy as np
import soundfile

RATE = 8000


def tone(pitch: float, seconds: float = 0.2, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """A tone of `pitch` Hz with some noise over it, float32 `(samples,)`; loudness and phase hang on the seed."""
    draw = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    signal = draw.uniform(0.2, 0.5) * np.sin(2 * np.pi * (pitch * time + draw.uniform()))
    return (signal + 0.02 * draw.standard_normal(len(time))).astype(np.float32)


def encode(signal: np.ndarray, rate: int = RATE, form: str = "WAV", coding: str = "FLOAT") -> bytes:
    """A sound file; floats in WAV come back bit for bit."""
    file = io.BytesIO()
    soundfile.write(file, signal, rate, format=form, subtype=coding)
    return file.getvalue()


def write(path: Path, signal: np.ndarray, rate: int = RATE) -> Path:
    """A WAV file of floats."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(signal, rate))
    return path
