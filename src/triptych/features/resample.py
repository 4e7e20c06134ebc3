"""Another sample rate."""

from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.errors import UserError
from triptych.features.torchaudio_import import import_torchaudio


def resample(
    waveform: Float[Tensor, "*channels samples"], from_rate: int, to_rate: int
) -> Float[Tensor, "*channels resampled"]:
    """The waveform at another sample rate (both in Hz), ``ceil(samples * to_rate / from_rate)`` long.

    torchaudio's band-limited interpolation with its defaults (a sinc with a Hann window, six zeros wide). The kernel of
    a pair of rates is made once.

    Raises UserError for a rate below 1, and where torchaudio is missing.
    """
    for name, rate in (("from_rate", from_rate), ("to_rate", to_rate)):
        if rate < 1:
            raise UserError(f"{name} is {rate}; a sample rate is at least 1 Hz")
    if from_rate == to_rate or waveform.shape[-1] == 0:
        return waveform
    return _resampler(from_rate, to_rate, waveform.device)(waveform)


# torchaudio's function makes the kernel anew each time, which for rates without a large common divisor takes longer
# than its use.
@lru_cache(maxsize=32)
def _resampler(from_rate: int, to_rate: int, device: torch.device) -> Any:
    return import_torchaudio().transforms.Resample(from_rate, to_rate).to(device)
