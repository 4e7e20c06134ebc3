"""Waveform to the power spectra of its frames, in the two ways that audio models were trained with."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from triptych.errors import UserError

WINDOWS = ("hann", "povey")


@dataclass(frozen=True)
class Frames(ABC):
    """How a waveform is cut into frames: ``window_length`` samples every ``hop_length`` samples, at ``sample_rate`` Hz,
    each made ``n_fft`` samples long with zeros for the Fourier transform.

    Raises UserError for a setting out of its range.
    """

    kind: ClassVar[str]

    sample_rate: int = 16_000
    window_length: int = 400
    hop_length: int = 160
    n_fft: int = 512

    def __post_init__(self) -> None:
        for name in ("sample_rate", "hop_length"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 2 <= self.window_length <= self.n_fft:
            raise UserError(
                f"window_length is {self.window_length}; it must be at least 2 and at most n_fft={self.n_fft}"
            )
        if self.n_fft % 2:
            raise UserError(f"n_fft is {self.n_fft}; it must be even")

    @property
    @abstractmethod
    def min_samples(self) -> int:
        """What a clip needs to have a frame."""

    @property
    @abstractmethod
    def span(self) -> int:
        """How many samples of `extend`'s result make a frame."""

    def count(self, samples: int) -> int:
        """How many frames a clip of so many samples has; 0 for one that is too short."""
        return 1 + (self._extended(samples) - self.span) // self.hop_length if samples >= self.min_samples else 0

    def samples(self, frames: int) -> int:
        """The shortest clip that has so many frames."""
        return max(self.min_samples, self.span + (frames - 1) * self.hop_length - self._extended(0))

    @abstractmethod
    def _extended(self, samples: int) -> int:
        """How many samples `extend` makes of so many."""

    @abstractmethod
    def extend(self, clip: Float[Tensor, " samples"]) -> Float[Tensor, " extended"]:
        """The clip as the frames are cut from it."""

    @abstractmethod
    def power(self, frames: Float[Tensor, "frames {self.span}"]) -> Float[Tensor, "frames frequencies"]:
        """Squared magnitudes at the ``n_fft / 2 + 1`` frequencies, float32. Each frame by itself."""


@dataclass(frozen=True)
class KaldiFrames(Frames):
    """Kaldi's frames, as ``torchaudio.compliance.kaldi.fbank`` without dither has them, to the last bit on a CPU.

    Only whole windows count ("snip edges"): ``1 + (samples - window_length) // hop_length`` frames. From each its own
    mean is taken, then ``preemphasis`` times the sample before (the first one's is itself), then comes the window:
    "hann", or "povey", which is Hann's to the power 0.85. ``scale`` multiplies the samples: 2^15 for a model that was
    trained on 16-bit numbers.
    """

    kind: ClassVar[str] = "kaldi"

    window: str = "hann"
    preemphasis: float = 0.97
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window not in WINDOWS:
            raise UserError(f"window is {self.window!r}; it must be one of {', '.join(WINDOWS)}")
        if not 0 <= self.preemphasis <= 1:
            raise UserError(f"preemphasis is {self.preemphasis}; it must be at least 0 and at most 1")

    @property
    def min_samples(self) -> int:
        return self.window_length

    @property
    def span(self) -> int:
        return self.window_length

    def _extended(self, samples: int) -> int:
        return samples

    def extend(self, clip: Float[Tensor, " samples"]) -> Float[Tensor, " samples"]:
        return clip if self.scale == 1 else clip * self.scale

    def power(self, frames: Float[Tensor, "frames {self.span}"]) -> Float[Tensor, "frames frequencies"]:
        padded = frames.new_zeros(len(frames), self.n_fft)
        kept = padded[:, : self.window_length]
        torch.sub(frames, frames.mean(1, keepdim=True), out=kept)
        before = kept * self.preemphasis
        kept[:, 1:].sub_(before[:, :-1])
        kept[:, :1].sub_(before[:, :1])
        kept.mul_(kaldi_window(self.window, self.window_length, frames.device))
        real, imaginary = torch.view_as_real(torch.fft.rfft(padded)).permute(2, 0, 1).contiguous()
        # The complex `abs` gives the same bits, and takes twice as long on a CPU.
        return torch.hypot(real, imaginary).square_()


@dataclass(frozen=True)
class StftFrames(Frames):
    """The frames of ``torch.stft`` and librosa, centred: the clip is mirrored at both ends by half of ``n_fft``, so
    that there are ``1 + samples // hop_length`` frames, or one less with ``drop_last``, as Whisper has it.

    The Hann window is ``periodic`` or symmetric. ``preemphasis`` takes that part of the sample before from each sample
    but the first, which goes (PaSST).
    """

    kind: ClassVar[str] = "stft"

    periodic: bool = True
    preemphasis: float = 0.0
    drop_last: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.preemphasis <= 1:
            raise UserError(f"preemphasis is {self.preemphasis}; it must be at least 0 and at most 1")

    @property
    def min_samples(self) -> int:
        # What is mirrored must be there, and what is left without the last frame too.
        most = max(self.n_fft // 2 + 1, self.hop_length if self.drop_last else 0)
        return most + (self.preemphasis > 0)

    @property
    def span(self) -> int:
        return self.n_fft

    def count(self, samples: int) -> int:
        return max(0, super().count(samples) - self.drop_last)

    def samples(self, frames: int) -> int:
        return super().samples(frames + self.drop_last)

    def _extended(self, samples: int) -> int:
        return samples - (self.preemphasis > 0) + 2 * (self.n_fft // 2)

    def extend(self, clip: Float[Tensor, " samples"]) -> Float[Tensor, " extended"]:
        if self.preemphasis > 0:
            clip = clip[1:] - self.preemphasis * clip[:-1]
        return F.pad(clip[None], (self.n_fft // 2,) * 2, mode="reflect")[0]

    def power(self, frames: Float[Tensor, "frames {self.span}"]) -> Float[Tensor, "frames frequencies"]:
        window = hann_window(self.window_length, self.n_fft, self.periodic, frames.device)
        spectrum = torch.fft.rfft(frames * window)
        return spectrum.real.square() + spectrum.imag.square()


@lru_cache
def kaldi_window(kind: str, length: int, device: torch.device) -> Float[Tensor, " length"]:
    """See `KaldiFrames`."""
    window = torch.hann_window(length, periodic=False)
    return (window.pow(0.85) if kind == "povey" else window).to(device)


@lru_cache
def hann_window(length: int, n_fft: int, periodic: bool, device: torch.device) -> Float[Tensor, " n_fft"]:
    """Hann's window in the middle of zeros."""
    left = (n_fft - length) // 2
    return F.pad(torch.hann_window(length, periodic=periodic), (left, n_fft - length - left)).to(device)
