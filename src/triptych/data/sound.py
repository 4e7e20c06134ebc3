"""Sound files to mono waveforms at the sample rate that is wanted. Strict: what is not a whole, finite sound of a known
format is refused.
"""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from jaxtyping import Float
from torch import Tensor

from triptych.data.source import BadSample
from triptych.errors import UserError
from triptych.features.resample import resample

EXTENSIONS = ("wav", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff", "au", "caf", "w64")
"""File name endings of the formats that libsndfile reads, lower case."""

STEREO = ("mean", "left", "right", "refuse")

_BLOCK = 1 << 20  # frames read at a time: a header may promise more than there is memory
# What libsndfile says of a header that promises more bytes than there are; such a file would be read as a shorter one.
_PROMISE = re.compile(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_STREAMED = 0x7FFF_0000  # bytes that a header has from there on were not known when it was written
_PADDING = 16  # bytes that may be missing at the end
_UNKNOWN = 1 << 62  # frames that libsndfile gives where a FLAC stream was written without knowing them


class Sounds:
    """Sounds, decoded to float32 `(1, samples)`, -1 to 1, by libsndfile (WAV, FLAC, Ogg with Vorbis or Opus, MP3, ...).

    Args:
        sample_rate: that all are brought to, Hz.
        stereo: what becomes of several channels: their mean, the first ("left") or second ("right") one, or "refuse".
        resampling: bring sounds of another rate to this one; otherwise such a sound is a bad sample.
        least_seconds: a shorter sound is a bad sample.

    Raises:
        UserError: a setting out of its range.
    """

    one, many, extensions, feature = "sound", "sounds", EXTENSIONS, "Audio"

    def __init__(
        self, sample_rate: int, stereo: str = "mean", resampling: bool = True, least_seconds: float | int = 0.025
    ) -> None:
        if sample_rate < 1:
            raise UserError(f"sample_rate is {sample_rate}; it must be at least 1 Hz")
        if stereo not in STEREO:
            raise UserError(f"stereo is {stereo!r}; it must be one of {', '.join(STEREO)}")
        self.sample_rate, self.stereo, self.resampling, self.least_seconds = (
            sample_rate, stereo, resampling, least_seconds,
        )  # fmt: skip

    def decode(self, data: bytes) -> Float[Tensor, "1 samples"]:
        """A whole sound file.

        Raises:
            BadSample: empty, of no known format, cut short, without samples, with samples that are not finite, too
                short; of several channels or another rate where that is refused.
        """
        if not data:
            raise BadSample("the file is empty (0 bytes)")
        return self._read(io.BytesIO(data), 0.0, None)

    def segment(self, file: Path | bytes, start: float, end: float | None) -> Float[Tensor, "1 samples"]:
        """The part of a sound file, or of the content of one, from `start` to `end` (seconds; None: to its end),
        without decoding the rest of it.

        Raises:
            BadSample: see `decode`; no such part.
        """
        if isinstance(file, bytes):
            return self._read(io.BytesIO(file), start, end) if file else self.decode(file)
        if not file.is_file():
            raise BadSample("cannot be opened: no such file")
        return self._read(file, start, end)

    def _read(self, file: Any, start: float, end: float | None) -> Tensor:
        try:
            with soundfile.SoundFile(file) as sound:
                rate, frames = sound.samplerate, sound.frames
                if frames >= _UNKNOWN:
                    raise BadSample("its header does not say how long it is: write the file anew")
                first = round(start * rate)
                count = -1 if end is None else round(end * rate) - first
                if (first and first >= frames) or (end is not None and (count < 1 or first + count > frames)):
                    raise BadSample(
                        f"has no part from {start:g} to {'its end' if end is None else format(end, 'g')} s: it is "
                        f"{frames / rate:g} s long"
                    )
                if first:
                    sound.seek(first)
                elif count < 0:
                    _check_whole(sound.extra_info)
                samples = _samples(sound, count)
        except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError) as error:
            raise BadSample(f"not a sound of a known format, or damaged: {_reason(error)}") from error
        wanted = count if count >= 0 else frames - first
        if len(samples) < wanted:
            raise BadSample(f"cut short: {len(samples)} of its {wanted} samples are there")
        return self._finished(samples, rate)

    def _finished(self, samples: np.ndarray, rate: int) -> Tensor:
        if not len(samples):
            raise BadSample("it has no samples")
        if not np.isfinite(samples).all():
            raise BadSample(f"{int((~np.isfinite(samples)).sum())} of its {samples.size} samples are not finite (NaN)")
        if rate != self.sample_rate and not self.resampling:
            raise BadSample(
                f"its sample rate is {rate} Hz and {self.sample_rate} Hz is asked for: allow data.resampling=true"
            )
        waveform = resample(torch.from_numpy(self._mono(samples))[None], rate, self.sample_rate)
        if waveform.shape[1] < round(self.least_seconds * self.sample_rate):
            raise BadSample(
                f"it is {waveform.shape[1] / self.sample_rate:g} s long, shorter than the {self.least_seconds:g} s "
                "that are needed"
            )
        return waveform.contiguous()

    def _mono(self, samples: np.ndarray) -> np.ndarray:
        channels = samples.shape[1]
        if channels == 1:
            return samples[:, 0]
        if self.stereo == "refuse":
            raise BadSample(f"it has {channels} channels, and mono is asked for: allow data.stereo=mean")
        if self.stereo == "mean":
            return samples.mean(axis=1, dtype=np.float32)
        return np.ascontiguousarray(samples[:, 0 if self.stereo == "left" else 1])


def _samples(sound: soundfile.SoundFile, count: int) -> np.ndarray:
    """`count` frames, fewer where the file ends before; -1: all."""
    parts: list[np.ndarray] = []
    held = 0
    while held != count:
        asked = _BLOCK if count < 0 else min(_BLOCK, count - held)
        parts.append(sound.read(asked, dtype="float32", always_2d=True))
        held += len(parts[-1])
        if len(parts[-1]) < asked:
            break
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _check_whole(said: str) -> None:
    for promised, there in _PROMISE.findall(said):
        if int(there) + _PADDING < int(promised) < _STREAMED:
            raise BadSample(f"cut short: {there} of its {promised} bytes of sound are there")


def _reason(error: Exception) -> str:
    text = str(error).rpartition(": ")[2].strip()
    return text or type(error).__name__
