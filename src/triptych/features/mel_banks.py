"""Triangular filters on the mel scale."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.errors import UserError

SCALES = ("kaldi", "htk", "slaney")


@dataclass(frozen=True)
class MelBank:
    """``mel_bins`` overlapping triangular filters between ``low`` and ``high`` Hz; None for ``high`` is half the sample
    rate. ``scale`` is one of three.

    "kaldi": triangles straight on the mel scale, in float32 steps as torchaudio's Kaldi module takes them. "htk": the
    same scale, with triangles straight in Hz (torchaudio's own default). "slaney": Slaney's Auditory Toolbox, straight
    below 1 kHz and logarithmic above, with triangles straight in Hz of equal area (librosa's default).

    Raises UserError for a setting out of its range.
    """

    mel_bins: int = 128
    low: float = 20.0
    high: float | None = None
    scale: str = "kaldi"

    def __post_init__(self) -> None:
        if self.mel_bins < 1:
            raise UserError(f"mel_bins is {self.mel_bins}; it must be at least 1")
        if self.scale not in SCALES:
            raise UserError(f"scale is {self.scale!r}; it must be one of {', '.join(SCALES)}")

    def check(self, sample_rate: int) -> None:
        """Raises UserError where the filters do not lie between 0 Hz and half the sample rate."""
        high = sample_rate / 2 if self.high is None else self.high
        if not 0 <= self.low < high <= sample_rate / 2:
            raise UserError(
                f"the mel filters go from low={self.low} to high={high} Hz, but must lie between 0 and "
                f"{sample_rate / 2} Hz, half the sample rate"
            )

    def matrix(
        self, sample_rate: int, n_fft: int, device: torch.device | str = "cpu"
    ) -> Float[Tensor, "frequencies mel_bins"]:
        """The filters' weights, float32: power spectra times it are mel energies."""
        return _matrix(self, sample_rate, n_fft, torch.device(device))


@lru_cache
def _matrix(bank: MelBank, sample_rate: int, n_fft: int, device: torch.device) -> Tensor:
    bank.check(sample_rate)
    high = sample_rate / 2 if bank.high is None else bank.high
    filters = (
        _kaldi(bank, high, sample_rate, n_fft) if bank.scale == "kaldi" else _in_hertz(bank, high, sample_rate, n_fft)
    )
    # Transposed, not copied: a product with the other memory order may differ in the last bit.
    return filters.to(device).T


def _kaldi(bank: MelBank, high: float, sample_rate: int, n_fft: int) -> Float[Tensor, "mel_bins frequencies"]:
    low_mel, high_mel = (1127.0 * math.log(1.0 + frequency / 700.0) for frequency in (bank.low, high))
    step = (high_mel - low_mel) / (bank.mel_bins + 1)
    place = torch.arange(bank.mel_bins)[:, None]
    left, centre, right = low_mel + place * step, low_mel + (place + 1.0) * step, low_mel + (place + 2.0) * step
    mel = 1127.0 * (1.0 + (sample_rate / n_fft) * torch.arange(float(n_fft // 2))[None] / 700.0).log()
    rising, falling = (mel - left) / (centre - left), (right - mel) / (right - centre)
    filters = torch.minimum(rising, falling).clamp_(min=0)
    # Kaldi has no weight at half the sample rate.
    return torch.cat((filters, filters.new_zeros(bank.mel_bins, 1)), 1)


def _in_hertz(bank: MelBank, high: float, sample_rate: int, n_fft: int) -> Float[Tensor, "mel_bins frequencies"]:
    to_mel, to_hertz = (_htk_mel, _htk_hertz) if bank.scale == "htk" else (_slaney_mel, _slaney_hertz)
    mels = torch.linspace(to_mel(bank.low), to_mel(high), bank.mel_bins + 2, dtype=torch.float64)
    corners = torch.tensor([to_hertz(mel) for mel in mels.tolist()], dtype=torch.float64)
    frequencies = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    left, centre, right = (corners[start : start + bank.mel_bins, None] for start in range(3))
    rising, falling = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
    filters = torch.minimum(rising, falling).clamp_(min=0)
    if bank.scale == "slaney":
        filters *= 2 / (right - left)
    return filters.float()


def _htk_mel(frequency: float) -> float:
    return 2595.0 * math.log10(1.0 + frequency / 700.0)


def _htk_hertz(mel: float) -> float:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def _slaney_mel(frequency: float) -> float:
    """Three mel for 200 Hz up to 1 kHz, then 27 mel for a factor of 6.4."""
    if frequency < 1000:
        return 3 * frequency / 200
    return 15 + 27 * math.log(frequency / 1000) / math.log(6.4)


def _slaney_hertz(mel: float) -> float:
    return 200 * mel / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)
