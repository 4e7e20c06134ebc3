"""Another sample rate."""

from fractions import Fraction
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from triptych.errors import UserError
from triptych.features.torchaudio_import import import_torchaudio

_LARGEST_KERNEL = 1 << 22
"""Values, 16 MiB. 44.1 to 16 kHz takes 70,560; 44,101 Hz would take 700 million."""


def resample(
    waveform: Float[Tensor, "*channels samples"], from_rate: int, to_rate: int
) -> Float[Tensor, "*channels resampled"]:
    """The waveform at another sample rate (both in Hz), ``ceil(samples * to_rate / from_rate)`` long.

    torchaudio's band-limited interpolation with its defaults (a sinc with a Hann window, six zeros wide). The kernel of
    a pair of rates is made once. Of rates with no large common divisor, whose kernel would be as large as their
    product, the nearest ratio of smaller numbers is taken, which is wrong by less than one part in two
    thousand.

    Raises UserError for a rate below 1, and where torchaudio is missing.
    """
    for name, rate in (("from_rate", from_rate), ("to_rate", to_rate)):
        if rate < 1:
            raise UserError(f"{name} is {rate}; a sample rate is at least 1 Hz")
    if from_rate == to_rate or waveform.shape[-1] == 0:
        return waveform
    near_from, near_to = _near(from_rate, to_rate)
    found = _resampler(near_from, near_to, waveform.device)(waveform)
    length = -(-waveform.shape[-1] * to_rate // from_rate)
    return functional.pad(found, (0, length - found.shape[-1]))


def _near(from_rate: int, to_rate: int) -> tuple[int, int]:
    """Rates of nearly this ratio, of which the kernel is small enough."""
    ratio = Fraction(to_rate, from_rate)
    most = _LARGEST_KERNEL
    while ratio.numerator * ratio.denominator > _LARGEST_KERNEL and most > 1:
        near = Fraction(to_rate, from_rate).limit_denominator(most)
        ratio, most = max(near, Fraction(1, _LARGEST_KERNEL)), most // 2
    return ratio.denominator, ratio.numerator


# torchaudio's function makes the kernel anew each time, which for rates without a large common divisor takes longer
# than its use.
@lru_cache(maxsize=32)
def _resampler(from_rate: int, to_rate: int, device: torch.device) -> Any:
    return import_torchaudio().transforms.Resample(from_rate, to_rate).to(device)
