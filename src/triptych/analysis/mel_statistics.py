"""Mean and standard deviation of a data set's log-mel spectrograms: what its front end normalises by."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from triptych.errors import UserError
from triptych.features.log_mel import LogMel
from triptych.features.waveforms import Waveforms


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of some numbers, of which more can be added (Chan et al., 1983), in
    float64 whatever the numbers are.
    """

    count: int = 0
    mean: float = 0.0
    deviations: float = 0.0

    @classmethod
    def of(cls, values: Tensor) -> "Moments":
        """Of all numbers of a tensor."""
        if not values.numel():
            return cls()
        values = values.double() if values.device.type != "mps" else values.cpu().double()
        deviations, mean = torch.var_mean(values, correction=0)
        return cls(values.numel(), float(mean), float(deviations) * values.numel())

    def __add__(self, other: "Moments") -> "Moments":
        count = self.count + other.count
        if not count:
            return self
        apart = other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * other.count / count,
            self.deviations + other.deviations + apart**2 * self.count * other.count / count,
        )

    @property
    def std(self) -> float:
        """The standard deviation of exactly these numbers (over ``count``)."""
        return math.sqrt(self.deviations / self.count) if self.count else 0.0


@dataclass(frozen=True)
class MelStatistics:
    """Mean and standard deviation over all bins of all frames of all clips, before normalisation; how many clips and
    seconds there were.
    """

    mean: float
    std: float
    clips: int
    seconds: float

    def normalised(self, front_end: LogMel) -> LogMel:
        """The front end that normalises by these."""
        return replace(front_end, mean=self.mean, std=self.std)


def mel_statistics(batches: Iterable[Waveforms], front_end: LogMel) -> MelStatistics:
    """Statistics of clips, batch by batch: nothing is kept of a batch but three numbers. Every frame counts alike, and
    only real ones: there is no padding. The mean and standard deviation that `front_end` has play no part.

    Raises UserError where there is no clip, or all clips are alike silent, and what the front end raises.
    """
    found, clips, seconds = Moments(), 0, 0.0
    plain = front_end.unnormalised
    for batch in batches:
        found += Moments.of(plain(batch).frames)
        clips += len(batch)
        seconds += sum(batch.seconds)
    if not clips:
        raise UserError("there is no clip to take statistics of")
    if not found.std > 0:
        raise UserError(f"all frames of the {clips} clips are alike (their mean is {found.mean:g}): is it all silence?")
    return MelStatistics(found.mean, found.std, clips, seconds)
