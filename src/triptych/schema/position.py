"""Position schemes of a tower."""

from dataclasses import dataclass, field
from typing import Any

from triptych.schema.option import Range, option
from triptych.schema.run import Part

_REFERENCE = "grid (rows, columns) that coordinates are relative to; null: the grid of image_size"


@dataclass
class NoPosition(Part):
    """No positions: the order of tokens is not seen."""

    _target_: str = "triptych.nn.position.NoPosition"
    _partial_: bool = True


@dataclass
class LearnedPosition(Part):
    """A learned table of places, resampled for other grids."""

    _target_: str = "triptych.nn.position.LearnedPosition"
    _partial_: bool = True
    embed_prefix: bool = option("class token and registers have places of their own too", default=True)
    interpolation: str = option(
        "how the table is resampled", default="bicubic", range=Range(choices=("bilinear", "bicubic"))
    )
    antialias: bool = option("resample with antialiasing", default=True)
    offset: float = option(
        "cells by which the new grid is taken for wider when the table is resampled, as DINOv2 does by 0.1",
        default=0.0,
        range=Range(least=0),
    )


@dataclass
class SinusoidalPosition(Part):
    """Fixed sines and cosines of the coordinates."""

    _target_: str = "triptych.nn.position.SinusoidalPosition"
    _partial_: bool = True
    base: float = option("longest wave over shortest", default=10_000.0, range=Range(above=1))
    reference: Any = option(_REFERENCE, default=None)


@dataclass
class CentreAligned(Part):
    """Coordinates of another grid are stretched so that both grids cover the same image, edge to edge."""

    _target_: str = "triptych.nn.coordinates.centre_aligned"
    _partial_: bool = True


@dataclass
class CornerAligned(Part):
    """Coordinates of another grid are scaled, the first cell always at 0 (EVA-02)."""

    _target_: str = "triptych.nn.coordinates.corner_aligned"
    _partial_: bool = True
    width_first: bool = option("turn by the column before the row", default=False)


@dataclass
class Unscaled(CornerAligned):
    """Coordinates are 0, 1, 2, ... whatever the grid (RoPE-ViT)."""

    _target_: str = "triptych.nn.coordinates.unscaled"


@dataclass
class UnitCentred(CornerAligned):
    """The image always spans the same coordinates, around 0 at its centre (DINOv3)."""

    _target_: str = "triptych.nn.coordinates.unit_centred"


@dataclass
class RotaryPosition(Part):
    """Queries and keys are turned by angles of their coordinates (axial RoPE)."""

    _target_: str = "triptych.nn.position.RotaryPosition"
    _partial_: bool = True
    base: float = option("longest wave over shortest", default=100.0, range=Range(above=1))
    coordinates: Part = field(default_factory=Part)
    reference: Any = option(_REFERENCE, default=None)


@dataclass
class LearnedRotaryPosition(LearnedPosition):
    """A learned table and axial RoPE together."""

    _target_: str = "triptych.nn.position.LearnedRotaryPosition"
    base: float = option("longest wave over shortest of the angles", default=100.0, range=Range(above=1))
    coordinates: Part = field(default_factory=Part)
    reference: Any = option(_REFERENCE, default=None)


@dataclass
class LearnedTimePosition(Part):
    """A learned table of bands and moments; a shorter clip takes the first moments (AST)."""

    _target_: str = "triptych.nn.time_position.LearnedTimePosition"
    _partial_: bool = True
    embed_prefix: bool = option("class token and registers have places of their own too", default=True)
    centred: bool = option("a shorter clip takes the moments around the middle instead", default=False)


@dataclass
class RunningTime(Part):
    """Moments count 0, 1, 2, ... whatever the length of a clip; bands are stretched."""

    _target_: str = "triptych.nn.coordinates.running_time"
    _partial_: bool = True


POSITIONS: tuple[type[Any], ...] = (
    LearnedPosition,
    LearnedTimePosition,
    SinusoidalPosition,
    RotaryPosition,
    LearnedRotaryPosition,
    NoPosition,
)
COORDINATES: tuple[type[Any], ...] = (CentreAligned, CornerAligned, Unscaled, UnitCentred, RunningTime)
