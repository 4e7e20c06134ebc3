"""Coordinates of the cells of a grid, as rotary positions turn by them.

Each is called as ``coordinates(grid, built, device)``: ``grid`` is the grid at hand, ``built`` the one that the
positions were built for. All agree about where the cells of ``built`` lie relative to each other; they differ in what
becomes of another grid, and a model must be given those that it was trained with.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

Grid = tuple[int, ...]
Coordinates = Float[Tensor, "tokens axes"]


def centre_aligned(grid: Grid, built: Grid, device: torch.device) -> Coordinates:
    """In units of the cells of ``built``: 0, 1, 2, ... where both grids are equal, else stretched so that both cover
    the same image, edge to edge.
    """
    check_axes(grid, built)
    return _mesh(
        [(_count(now, device) + 0.5) * (then / now) - 0.5 for now, then in zip(grid, built, strict=True)], False
    )


def corner_aligned(grid: Grid, built: Grid, device: torch.device, width_first: bool = False) -> Coordinates:
    """In units of the cells of ``built``, the first cell always at 0 and the distance of cells scaled (EVA-02; timm's
    ``ref_feat_shape``).
    """
    check_axes(grid, built)
    return _mesh([_count(now, device) * (then / now) for now, then in zip(grid, built, strict=True)], width_first)


def unscaled(grid: Grid, built: Grid, device: torch.device, width_first: bool = False) -> Coordinates:
    """0, 1, 2, ... whatever the grid: a larger image reaches coordinates never seen (Heo et al., 2024, "RoPE-ViT")."""
    check_axes(grid, built)
    return _mesh([_count(now, device) for now in grid], width_first)


def unit_centred(grid: Grid, built: Grid, device: torch.device, width_first: bool = False) -> Coordinates:
    """The image spans -2 pi to 2 pi along every axis, whatever the grid (Siméoni et al., 2025, "DINOv3")."""
    check_axes(grid, built)
    return _mesh([2 * math.pi * (2 * ((_count(now, device) + 0.5) / now) - 1) for now in grid], width_first)


def running_time(grid: Grid, built: Grid, device: torch.device) -> Coordinates:
    """For spectrograms, bands by moments: moments count 0, 1, 2, ... whatever the length of a clip, and bands are
    stretched as by `centre_aligned`.
    """
    check_axes(grid, built)
    (bands, moments), (built_bands, _) = grid, built
    return _mesh([(_count(bands, device) + 0.5) * (built_bands / bands) - 0.5, _count(moments, device)], False)


def check_axes(grid: Grid, built: Grid) -> None:
    """Raises ValueError where the grids have differing numbers of axes."""
    if len(grid) != len(built):
        raise ValueError(f"A grid of {len(grid)} axes meets positions built for {len(built)} axes.")


def _count(cells: int, device: torch.device) -> Tensor:
    return torch.arange(cells, device=device, dtype=torch.float32)


def _mesh(axes: list[Tensor], width_first: bool) -> Coordinates:
    mesh = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)
    return mesh.flip(-1) if width_first else mesh
