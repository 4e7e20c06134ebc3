"""Augmentation of waveforms: one clip ``(1, samples)``, float32, in, and one like it out.

Each draws from torch's default generator, as the transforms of images do; the loader seeds that generator for each
sample by (seed, epoch, sample) and puts it back afterwards.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from triptych.errors import UserError
from triptych.features.resample import resample

WaveformTransform = Callable[[Tensor], Tensor]


class Chain:
    """One transform after the other: a sequence, or by name, where None is none."""

    def __init__(self, transforms: Sequence[WaveformTransform] | Mapping[str, WaveformTransform | None]) -> None:
        given = transforms.values() if isinstance(transforms, Mapping) else transforms
        self.transforms = [each for each in given if each is not None]

    def __call__(self, clip: Float[Tensor, "1 samples"]) -> Float[Tensor, "1 changed"]:
        """What the last one gives."""
        for transform in self.transforms:
            clip = transform(clip)
        return clip


class Sometimes:
    """A transform that a clip goes through with ``probability``, and else stays as it is."""

    def __init__(self, transform: WaveformTransform, probability: float | int = 0.5) -> None:
        if not 0 <= probability <= 1:
            raise UserError(f"probability is {probability}; it must be at least 0 and at most 1")
        self.transform = transform
        self.probability = probability

    def __call__(self, clip: Float[Tensor, "1 samples"]) -> Float[Tensor, "1 changed"]:
        """The clip, changed or not."""
        return self.transform(clip) if _draw() < self.probability else clip


class AtLeast:
    """A transform whose result is taken where it has ``samples`` or more; else the clip stays as it is."""

    def __init__(self, transform: WaveformTransform, samples: int) -> None:
        self.transform = transform
        self.samples = samples

    def __call__(self, clip: Float[Tensor, "1 samples"]) -> Float[Tensor, "1 changed"]:
        """The clip, changed or not."""
        changed = self.transform(clip)
        return changed if changed.shape[-1] >= self.samples else clip


class Gain:
    """Louder or softer by a number of decibels drawn evenly between the least and the most of ``decibels``. Samples may
    come to lie beyond 1.
    """

    def __init__(self, decibels: Sequence[float | int] = (-6.0, 6.0)) -> None:
        self.decibels = _range("decibels", decibels)

    def __call__(self, clip: Float[Tensor, "1 samples"]) -> Float[Tensor, "1 samples"]:
        """The clip times a number."""
        return clip * 10 ** (_between(self.decibels) / 20)


class Noise:
    """White noise, softer than the clip by a number of decibels drawn evenly between the least and the most of
    ``snr``: the signal-to-noise ratio, of the whole clip's mean power. Silence stays silence.
    """

    def __init__(self, snr: Sequence[float | int] = (10.0, 40.0)) -> None:
        self.snr = _range("snr", snr)

    def __call__(self, clip: Float[Tensor, "1 samples"]) -> Float[Tensor, "1 samples"]:
        """The clip with noise over it."""
        loudness = clip.square().mean().sqrt()
        return clip + torch.randn_like(clip) * (loudness * 10 ** (-_between(self.snr) / 20))


class Equalise:
    """The clip as another microphone in another room would have it: gains drawn evenly between the least and the most
    of ``decibels`` at ``points`` frequencies, evenly spread from 0 to half the sample rate, and between them along
    straight lines.
    """

    def __init__(self, decibels: Sequence[float | int] = (-10.0, 10.0), points: int = 6) -> None:
        self.decibels = _range("decibels", decibels)
        if points < 2:
            raise UserError(f"points is {points}; a curve needs at least 2")
        self.points = points

    def __call__(self, clip: Float[Tensor, "1 samples"]) -> Float[Tensor, "1 samples"]:
        """The clip through a filter of linear phase, around its end."""
        least, most = self.decibels
        drawn = least + torch.rand(1, 1, self.points) * (most - least)
        spectrum = torch.fft.rfft(clip)
        curve = functional.interpolate(drawn, spectrum.shape[-1], mode="linear", align_corners=True)[0]
        return torch.fft.irfft(spectrum * 10 ** (curve / 20), clip.shape[-1])


class Roll:
    """Moved in time by up to ``share`` of the clip's length, to either side; what leaves at one end comes in at the
    other.
    """

    def __init__(self, share: float | int = 0.1) -> None:
        if not 0 <= share <= 1:
            raise UserError(f"share is {share}; it must be at least 0 and at most 1")
        self.share = share

    def __call__(self, clip: Float[Tensor, "1 samples"]) -> Float[Tensor, "1 samples"]:
        """The same samples from another one on."""
        most = int(self.share * clip.shape[-1])
        return clip.roll(int(_draw() * (2 * most + 1)) - most, dims=-1)


class Speed:
    """Faster and higher, or slower and lower, by a factor drawn evenly between the least and the most of ``factors`` in
    steps of a hundredth, by resampling: the clip's length changes too.
    """

    def __init__(self, factors: Sequence[float | int] = (0.9, 1.1)) -> None:
        least, most = _range("factors", factors)
        # A hundredth keeps the resampling kernels few and small.
        self.hundredths = (round(100 * least), round(100 * most))
        if not 10 <= self.hundredths[0] <= self.hundredths[1] <= 1000:
            raise UserError(f"factors is {list(factors)}; factors from 0.1 to 10 are needed")

    def __call__(self, clip: Float[Tensor, "1 samples"]) -> Float[Tensor, "1 changed"]:
        """The clip at another speed."""
        least, most = self.hundredths
        return resample(clip, least + int(_draw() * (most - least + 1)), 100)


class RandomSegment:
    """At most ``seconds`` of a clip, from anywhere in it; a shorter one stays whole. ``sample_rate`` is in Hz."""

    def __init__(self, seconds: float | int, sample_rate: int) -> None:
        if sample_rate < 1:
            raise UserError(f"sample_rate is {sample_rate}; it must be at least 1 Hz")
        self.samples = round(seconds * sample_rate)
        if self.samples < 1:
            raise UserError(f"seconds is {seconds}; at {sample_rate} Hz that is no sample: take more")

    def __call__(self, clip: Float[Tensor, "1 samples"]) -> Float[Tensor, "1 kept"]:
        """A view of the clip."""
        start = int(_draw() * (max(0, clip.shape[-1] - self.samples) + 1))
        return clip[..., start : start + self.samples]


def _draw() -> float:
    """From 0 to below 1."""
    return float(torch.rand((), dtype=torch.float64))


def _between(limits: tuple[float, float]) -> float:
    return limits[0] + _draw() * (limits[1] - limits[0])


def _range(name: str, values: Sequence[float | int]) -> tuple[float, float]:
    if len(values) != 2 or not values[0] <= values[1]:
        raise UserError(f"{name} is {list(values)}; two numbers with least <= most are needed")
    return float(values[0]), float(values[1])
