"""Sounds of formats that libsndfile does not read (M4A, WebM, ...), by torchcodec where it is installed."""

import re
from pathlib import Path
from types import ModuleType

import numpy as np

from triptych.data.source import BadSample

EXTENSIONS = ("m4a", "mp4", "aac", "webm", "mka", "wma", "amr")
"""File name endings of such formats, lower case."""


class CodedSound:
    """A sound inside of a file, opened.

    Attributes:
        rate: samples a second, Hz.
        channels: how many there are.
        seconds: how long the file says that it is; None where it does not say.

    Args:
        file: it, or its bytes.
        format: its name, for messages.

    Raises:
        BadSample: torchcodec cannot be loaded, or does not find a sound in it.
    """

    def __init__(self, file: Path | bytes, format: str) -> None:
        decoders = _decoders(format)
        try:
            self._decoder = decoders.AudioDecoder(file)
        except (RuntimeError, ValueError) as error:
            raise BadSample(f"not a sound of the format {format}, or damaged: {_reason(error)}") from error
        told = self._decoder.metadata
        self._format = format
        self.rate: int = told.sample_rate
        self.channels: int = told.num_channels
        told_seconds = told.duration_seconds_from_header
        self.seconds = None if told_seconds is None else float(told_seconds)

    def read(self, start: float, end: float) -> np.ndarray:
        """Samples `(samples, channels)`, float32, of the part from `start` to `end` in seconds, or to where they end.

        Raises:
            BadSample: they cannot be decoded.
        """
        try:
            found = self._decoder.get_samples_played_in_range(start, end)
        except (RuntimeError, ValueError, IndexError) as error:
            raise BadSample(f"not a sound of the format {self._format}, or damaged: {_reason(error)}") from error
        return found.data.numpy().T


def _decoders(format: str) -> ModuleType:
    try:
        from torchcodec import decoders
    except (ImportError, OSError, RuntimeError) as error:
        raise BadSample(
            f"it is {format}, which torchcodec reads, and that cannot be loaded ({_reason(error)}): install it and "
            "FFmpeg's libraries, pip install 'triptych[codec]', or convert the sound to FLAC or WAV"
        ) from error
    return decoders


def _reason(error: Exception) -> str:
    # What torchcodec says begins with a place in its own source.
    return re.sub(r"^.*\.cpp:\d+, ", "", (str(error).strip() or type(error).__name__).splitlines()[0])
