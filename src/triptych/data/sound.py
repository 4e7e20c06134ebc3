"""Sound files to mono waveforms at the sample rate that is wanted. Strict: what is not a whole, finite sound of a known
format is refused.
"""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
import torch
from jaxtyping import Float
from torch import Tensor

from triptych.data import codec
from triptych.data.codec import CodedSound
from triptych.data.other_format import other_format
from triptych.data.source import BadSample
from triptych.data.whole_sound import check_whole
from triptych.errors import UserError
from triptych.features.resample import resample
from triptych.plain import open_plain

EXTENSIONS = ("wav", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff", "au", "caf", "w64", *codec.EXTENSIONS)
"""File name endings of the formats that are read, lower case."""

MAX_SAMPLES = 1 << 28
"""Longest sound: 4.6 hours at 16 kHz, 1 GiB. Silence is coded in next to nothing, so that a small file can fill any
memory."""

MAX_VALUES = 1 << 29
"""Most samples of all channels together: 255 channels of silence are coded in next to nothing too, and take
minutes."""

MAX_CHANNELS = 256
"""More than any microphone array has; each block is decoded with all of them before they become one."""

RATES = (100, 10_000_000)
"""Sample rates that a sound may have, Hz: brought to 16 kHz, each sample of one at 1 Hz would become 16,000."""

_NO_LENGTH = 1 << 62
"""Samples from which on libsndfile means that it does not know their number."""

_BLOCK = 1 << 20
"""Values, of all channels together."""

STEREO = ("mean", "left", "right", "refuse")


class Sounds:
    """Sounds, decoded to float32 `(1, samples)`, -1 to 1, by libsndfile (WAV, FLAC, Ogg with Vorbis or Opus, MP3, ...)
    or, where it is installed, torchcodec (M4A, WebM, ...).

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
                short, longer than `MAX_SAMPLES`; of several channels or another rate where that is refused.
        """
        return self.segment(data, 0.0, None)

    def segment(self, file: Path | bytes, start: float, end: float | None) -> Float[Tensor, "1 samples"]:
        """The part of a sound file from `start` to `end` (seconds; None: to its end), without reading the rest of it.

        An end may lie behind that of the file by less than `least_seconds`, as rounded ones do.

        Raises:
            BadSample: see `decode`; no such part.
        """
        try:
            with _Content(file) if isinstance(file, bytes) else open_plain(file) as opened:
                other = other_format(opened)
                check_whole(opened)
        except OSError as error:
            raise BadSample(f"cannot be opened: {error.strerror or error}") from error
        if other is not None:
            return self._finished(*self._read_coded(CodedSound(file, other), start, end))
        return self._finished(*self._read(_Content(file) if isinstance(file, bytes) else file, start, end))

    def _read(self, file: "_Content | Path", start: float, end: float | None) -> tuple[np.ndarray, int]:
        """Samples `(samples,)` of the part, mono, and their rate."""
        try:
            with soundfile.SoundFile(file) as sound:
                rate, frames = sound.samplerate, sound.frames
                first = round(start * rate)
                last = frames if end is None else round(end * rate)
                if frames >= _NO_LENGTH:
                    raise BadSample(
                        "its header does not say how long it is, as of one written to a pipe: write it anew"
                    )
                self._check_part(start, end, frames / rate)
                wanted = min(last, frames) - first
                self._check_channels(sound.channels)
                self._check_length(wanted, rate, sound.channels)
                if first:
                    sound.seek(first)
                # Block by block: a header may promise more than there is, and what is not written takes no memory.
                samples = np.empty(max(0, wanted), dtype=np.float32)
                step = max(1, _BLOCK // sound.channels)
                for place in range(0, wanted, step):
                    count = min(step, wanted - place)
                    block = sound.read(count, dtype="float32", always_2d=True)
                    samples[place : place + len(block)] = self._mono(block)
                    if len(block) < count:
                        raise BadSample(f"cut short: {place + len(block)} of its {wanted} samples are there")
        except (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError, MemoryError) as error:
            raise BadSample(f"not a sound of a known format, or damaged: {_reason(error)}") from error
        if not len(samples):
            raise BadSample("it has no samples")
        return samples, rate

    def _read_coded(self, sound: CodedSound, start: float, end: float | None) -> tuple[np.ndarray, int]:
        """As `_read`."""
        self._check_channels(sound.channels)
        stop = end
        if sound.seconds is not None:
            self._check_part(start, end, sound.seconds)
            # Coded in frames, so that what is decoded goes on behind the end that the file names.
            stop = sound.seconds if end is None else end
        if stop is not None:
            self._check_length(round((stop - start) * sound.rate), sound.rate, sound.channels)
        else:
            # No header tells the length: it is read a little further than it may reach.
            self._check_length(0, sound.rate, sound.channels)
            most = min(MAX_SAMPLES * min(1.0, sound.rate / self.sample_rate), MAX_VALUES / sound.channels)
            stop = start + most / sound.rate + 1
        samples = sound.read(start, stop)
        if not len(samples):
            raise BadSample("it has no samples")
        self._check_length(len(samples), sound.rate, samples.shape[1])
        return self._mono(samples), sound.rate

    def _check_part(self, start: float, end: float | None, seconds: float) -> None:
        if (start and start >= seconds) or (end is not None and (end <= start or end >= seconds + self.least_seconds)):
            raise BadSample(
                f"has no part from {start:g} to {'its end' if end is None else format(end, 'g')} s: it is "
                f"{seconds:g} s long"
            )

    def _check_length(self, samples: int, rate: int, channels: int) -> None:
        if not RATES[0] <= rate <= RATES[1]:
            raise BadSample(f"its sample rate of {rate} Hz is no sound's ({RATES[0]} to {RATES[1]:,} Hz)")
        if samples * max(1.0, self.sample_rate / rate) > MAX_SAMPLES:
            raise BadSample(
                f"{samples / rate / 3600:.1f} hours at {rate} Hz are above the limit of {MAX_SAMPLES} samples: cut it "
                "into several files, or name parts of it"
            )
        if samples * channels > MAX_VALUES:
            raise BadSample(
                f"{samples / rate / 3600:.1f} hours of {channels} channels at {rate} Hz are above the limit of "
                f"{MAX_VALUES} values: cut it into several files, or name parts of it"
            )
        if rate != self.sample_rate and not self.resampling:
            raise BadSample(
                f"its sample rate is {rate} Hz and {self.sample_rate} Hz is asked for: allow data.resampling=true"
            )

    def _check_channels(self, channels: int) -> None:
        if channels > MAX_CHANNELS:
            raise BadSample(f"its {channels} channels are above the limit of {MAX_CHANNELS}")
        if channels > 1 and self.stereo == "refuse":
            raise BadSample(f"it has {channels} channels, and mono is asked for: allow data.stereo=mean")

    def _finished(self, samples: np.ndarray, rate: int) -> Tensor:
        if not np.isfinite(samples).all():
            raise BadSample(f"{int((~np.isfinite(samples)).sum())} of its {samples.size} samples are not finite (NaN)")
        waveform = resample(torch.from_numpy(samples)[None], rate, self.sample_rate)
        least = round(self.least_seconds * self.sample_rate)
        if waveform.shape[1] < least:
            raise BadSample(
                f"it is {waveform.shape[1] / self.sample_rate:g} s long, shorter than one frame "
                f"({least / self.sample_rate:g} s)"
            )
        return waveform.contiguous()

    def _mono(self, samples: np.ndarray) -> np.ndarray:
        if samples.shape[1] == 1:
            return samples[:, 0]
        if self.stereo == "mean":
            with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is told of the whole
                return samples.mean(axis=1, dtype=np.float32)
        return np.ascontiguousarray(samples[:, 0 if self.stereo == "left" else 1])


class _Content(BytesIO):
    """A file in memory. Damaged ones send libsndfile to places before their start, which is no exception to it."""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Goes to the nearest place that there is."""
        size = self.getbuffer().nbytes
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: size}[whence]
        return super().seek(min(max(base + offset, 0), size))


def _reason(error: Exception) -> str:
    text = str(error).rpartition(": ")[2].strip()
    return text or type(error).__name__
