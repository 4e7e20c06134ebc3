"""Position schemes. A factory is called with the `TokenGrid` of the tower, and answers for any other grid too.

A scheme may give a table to add to the content tokens, positions for the prefix tokens (class token, registers), and
rotation angles for the mixers; what it does not give is None.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from triptych.nn.coordinates import centre_aligned, check_axes
from triptych.nn.layout import Rotary
from triptych.nn.resample import resampling_matrix

Coordinates = Callable[[tuple[int, ...], tuple[int, ...], torch.device], Tensor]


@dataclass(frozen=True)
class TokenGrid:
    """What a position scheme is built for: the width of a token, the grid of the content tokens (1 or 2 axes), how
    many prefix tokens stand before them, and the width of the vectors that the mixers can rotate (None: they cannot).
    """

    dim: int
    grid: tuple[int, ...]
    prefix: int = 0
    rotary_dim: int | None = None


class Position(nn.Module, ABC):
    """Where a token is. ``grid`` is the grid at hand, which may differ from the one the scheme was built for."""

    @abstractmethod
    def table(self, grid: tuple[int, ...], device: torch.device) -> Float[Tensor, "tokens dim"] | None:
        """What to add to the content tokens, row by row."""

    @abstractmethod
    def prefix_table(self) -> Float[Tensor, "prefix dim"] | None:
        """What to add to the prefix tokens."""

    @abstractmethod
    def rotary(self, grid: tuple[int, ...], device: torch.device) -> Rotary | None:
        """The angles by which the mixers turn the content tokens."""


class NoPosition(Position):
    """No position at all: the tower sees a set of tokens."""

    def __init__(self, tokens: TokenGrid) -> None:
        super().__init__()

    def table(self, grid: tuple[int, ...], device: torch.device) -> None:
        return None

    def prefix_table(self) -> None:
        return None

    def rotary(self, grid: tuple[int, ...], device: torch.device) -> None:
        return None


class LearnedPosition(Position):
    """One learned vector for each place of the grid, resampled for other grids: in float32, bicubic with antialiasing
    by default.

    ``embed_prefix`` gives the prefix tokens learned positions too, as the first ViT did (timm's
    ``no_embed_class=False``); they stay out of the resampling. ``offset`` (cells) widens the new grid that is aimed at,
    as DINOv2's own code does by 0.1, without antialiasing.
    """

    def __init__(
        self,
        tokens: TokenGrid,
        embed_prefix: bool = True,
        interpolation: str = "bicubic",
        antialias: bool = True,
        offset: float = 0.0,
    ) -> None:
        super().__init__()
        self.built_grid = tokens.grid
        self.interpolation = interpolation
        self.antialias = antialias
        self.offset = offset
        places = torch.Size(tokens.grid).numel()
        self.places = nn.Parameter(torch.zeros(places, tokens.dim))
        with_prefix = embed_prefix and tokens.prefix > 0
        self.prefix_places = nn.Parameter(torch.zeros(tokens.prefix, tokens.dim)) if with_prefix else None

    def table(self, grid: tuple[int, ...], device: torch.device) -> Float[Tensor, "tokens dim"]:
        # An exported graph takes every grid by the same road: at this one, the matrices are the identity.
        if not torch.compiler.is_exporting() and grid == self.built_grid:
            return self.places
        return resample_grid(self.places, self.built_grid, grid, self.interpolation, self.antialias, self.offset)

    def prefix_table(self) -> Float[Tensor, "prefix dim"] | None:
        return self.prefix_places

    def rotary(self, grid: tuple[int, ...], device: torch.device) -> None:
        return None


class SinusoidalPosition(Position):
    """Fixed sines and cosines of the coordinates, 1-D (Vaswani et al., 2017) or 2-D (MoCo v3; big_vision's
    ``sincos2d``), by the number of axes of the grid. Coordinates of another grid are stretched onto the one it was
    built for, or onto ``reference`` where that is given.

    Raises ValueError where the width is no multiple of twice the number of axes.
    """

    def __init__(self, tokens: TokenGrid, base: float = 10_000.0, reference: Sequence[int] | None = None) -> None:
        super().__init__()
        _check_width("dim", tokens.dim, 2 * len(tokens.grid))
        self.dim, self.built_grid, self.base = tokens.dim, _built_grid(tokens, reference), base

    def table(self, grid: tuple[int, ...], device: torch.device) -> Float[Tensor, "tokens dim"]:
        waves = self.dim // (2 * len(grid))
        exponents = torch.arange(waves, device=device, dtype=torch.float32) / max(1, waves - 1)
        # The last axis (width) comes first, as in the reference implementations.
        axes = centre_aligned(grid, self.built_grid, device).flip(-1).unbind(-1)
        angles = [axis[:, None] * self.base**-exponents for axis in axes]
        return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=-1)

    def prefix_table(self) -> None:
        return None

    def rotary(self, grid: tuple[int, ...], device: torch.device) -> None:
        return None


class RotaryPosition(Position):
    """Rotary positions, axial: each axis of the grid turns its own share of the pairs of each head (Su et al., 2021;
    Heo et al., 2024). Prefix tokens are not turned. ``coordinates`` says where the cells of a grid lie, relative to the
    grid that the positions were built for, or to ``reference`` where that is given: see `triptych.nn.coordinates`.

    Raises ValueError where the mixer takes no rotary positions, or its heads are no multiple of twice the number of
    axes wide.
    """

    def __init__(
        self,
        tokens: TokenGrid,
        base: float = 100.0,
        coordinates: Coordinates = centre_aligned,
        reference: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if tokens.rotary_dim is None:
            raise ValueError("This mixer takes no rotary positions; choose another position scheme, or another mixer.")
        _check_width("head width", tokens.rotary_dim, 2 * len(tokens.grid))
        self.rotary_dim, self.built_grid, self.base = tokens.rotary_dim, _built_grid(tokens, reference), base
        self.coordinates = coordinates

    def table(self, grid: tuple[int, ...], device: torch.device) -> None:
        return None

    def prefix_table(self) -> None:
        return None

    def rotary(self, grid: tuple[int, ...], device: torch.device) -> Rotary:
        pairs = self.rotary_dim // (2 * len(grid))
        frequencies = self.base ** -(torch.arange(pairs, device=device, dtype=torch.float32) / pairs)
        axes = self.coordinates(grid, self.built_grid, device).unbind(-1)
        angles = torch.cat([axis[:, None] * frequencies for axis in axes], dim=-1)
        return Rotary(angles.cos(), angles.sin())


class LearnedRotaryPosition(Position):
    """A learned table and rotary positions together, as EVA-02 has them (Fang et al., 2023): the table says where a
    token is, the angles how far apart two are. See `LearnedPosition` and `RotaryPosition` for the settings and errors.
    """

    def __init__(
        self,
        tokens: TokenGrid,
        base: float = 100.0,
        embed_prefix: bool = True,
        interpolation: str = "bicubic",
        antialias: bool = True,
        offset: float = 0.0,
        coordinates: Coordinates = centre_aligned,
        reference: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.learned = LearnedPosition(tokens, embed_prefix, interpolation, antialias, offset)
        self.angles = RotaryPosition(tokens, base, coordinates, reference)

    def table(self, grid: tuple[int, ...], device: torch.device) -> Float[Tensor, "tokens dim"]:
        return self.learned.table(grid, device)

    def prefix_table(self) -> Float[Tensor, "prefix dim"] | None:
        return self.learned.prefix_table()

    def rotary(self, grid: tuple[int, ...], device: torch.device) -> Rotary:
        return self.angles.rotary(grid, device)


def resample_grid(
    table: Float[Tensor, "places dim"],
    old: tuple[int, ...],
    new: tuple[int, ...],
    interpolation: str = "bicubic",
    antialias: bool = True,
    offset: float = 0.0,
) -> Float[Tensor, "tokens dim"]:
    """A table of positions on grid ``old`` read off at grid ``new``: in float32, returned in the table's own type.

    What `torch.nn.functional.interpolate` gives (with ``align_corners=False``), as one matrix for each axis: plain
    products, which also hold in an exported graph whose sizes are not known yet. For ``offset`` see `LearnedPosition`.
    """
    check_axes(new, old)
    resized = table.float().unflatten(0, old)
    for axis, (then, now) in enumerate(zip(old, new, strict=True)):
        matrix = resampling_matrix(then, now, interpolation, antialias, table.device, offset)
        resized = (matrix @ resized.movedim(axis, -2)).movedim(-2, axis)
    return resized.flatten(0, -2).to(table.dtype)


def _check_width(name: str, width: int, multiple: int) -> None:
    if width % multiple:
        raise ValueError(f"The {name} is {width}; positions over this grid need a multiple of {multiple}.")


def _built_grid(tokens: TokenGrid, reference: Sequence[int] | None) -> tuple[int, ...]:
    grid = tokens.grid if reference is None else tuple(reference)
    check_axes(tokens.grid, grid)
    return grid
