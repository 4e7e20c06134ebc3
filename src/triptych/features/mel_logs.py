"""Ways to take the logarithm of mel energies, which differ in how they treat silence."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.errors import UserError


class Log(ABC):
    """Energies ``(frames, mel_bins)`` of clips end to end to their logarithms, in place."""

    kind: ClassVar[str]

    @abstractmethod
    def __call__(
        self, energies: Float[Tensor, "frames mel_bins"], lengths: Sequence[int]
    ) -> Float[Tensor, "frames mel_bins"]:
        """The logarithms; ``lengths`` are the frames of each clip."""


@dataclass(frozen=True)
class FlooredLog(Log):
    """The natural logarithm of what is at least ``floor`` (Kaldi: the step of float32 at 1)."""

    kind: ClassVar[str] = "floored"

    floor: float = torch.finfo(torch.float32).eps

    def __post_init__(self) -> None:
        _above_zero("floor", self.floor)

    def __call__(self, energies: Tensor, lengths: Sequence[int]) -> Tensor:
        return energies.clamp_(min=self.floor).log_()


@dataclass(frozen=True)
class ShiftedLog(Log):
    """The natural logarithm of the energy plus ``shift`` (PaSST)."""

    kind: ClassVar[str] = "shifted"

    shift: float = 1e-5

    def __post_init__(self) -> None:
        _above_zero("shift", self.shift)

    def __call__(self, energies: Tensor, lengths: Sequence[int]) -> Tensor:
        return energies.add_(self.shift).log_()


@dataclass(frozen=True)
class Decibels(Log):
    """Ten times the decimal logarithm of what is at least ``floor`` (CLAP)."""

    kind: ClassVar[str] = "decibels"

    floor: float = 1e-10

    def __post_init__(self) -> None:
        _above_zero("floor", self.floor)

    def __call__(self, energies: Tensor, lengths: Sequence[int]) -> Tensor:
        return energies.clamp_(min=self.floor).log10_().mul_(10)


@dataclass(frozen=True)
class RangedLog(Log):
    """The decimal logarithm of what is at least ``floor``, and at least the clip's largest less ``decades`` (Whisper).

    What a quiet moment becomes so depends on the loudest of its clip.
    """

    kind: ClassVar[str] = "ranged"

    floor: float = 1e-10
    decades: float = 8.0

    def __post_init__(self) -> None:
        _above_zero("floor", self.floor)
        _above_zero("decades", self.decades)

    def __call__(self, energies: Tensor, lengths: Sequence[int]) -> Tensor:
        logs = energies.clamp_(min=self.floor).log10_()
        for clip in logs.split(list(lengths)):
            torch.maximum(clip, clip.max() - self.decades, out=clip)
        return logs


def _above_zero(name: str, value: float) -> None:
    if not value > 0:
        raise UserError(f"{name} is {value}; it must be above 0")
