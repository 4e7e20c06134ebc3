"""Another sample rate."""

from collections.abc import Iterator
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


_PIECE = 1 << 22
"""Samples that are brought to the other rate at a time: the convolution takes several times the memory of what goes
into it."""


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
    change = _resampler(near_from, near_to, waveform.device)
    length = -(-waveform.shape[-1] * to_rate // from_rate)
    if waveform.shape[-1] <= 2 * _PIECE:
        found = change(waveform)
        return functional.pad(found, (0, length - found.shape[-1]))
    whole = waveform.new_zeros((*waveform.shape[:-1], length))
    place = 0
    for piece in _in_pieces(waveform, near_from, near_to, change):
        part = whole[..., place : place + piece.shape[-1]]
        part.copy_(piece[..., : part.shape[-1]])
        place += piece.shape[-1]
    return whole


def _in_pieces(waveform: Tensor, from_rate: int, to_rate: int, change: Any) -> Iterator[Tensor]:
    """What `change` makes of the waveform, piece by piece: each with what the kernel sees on both sides of it."""
    size = waveform.shape[-1]
    step = max(1, _PIECE // from_rate) * from_rate
    margin = (change.width // from_rate + 2) * from_rate
    for begin in range(0, size, step):
        first, last = max(0, begin - margin), min(size, begin + step + margin)
        cut = (begin - first) // from_rate * to_rate
        kept = None if begin + step >= size else step // from_rate * to_rate
        yield change(waveform[..., first:last])[..., cut:][..., :kept]


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
