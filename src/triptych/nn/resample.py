"""Interpolation along one axis as a matrix."""

import torch
from jaxtyping import Float
from torch import Tensor

# Half the width of each kernel, in cells.
_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}


def resampling_matrix(
    old: int,
    new: int,
    interpolation: str,
    antialias: bool,
    device: torch.device | str = "cpu",
    offset: float = 0.0,
) -> Float[Tensor, "new old"]:
    """The matrix that reads ``old`` cells off at ``new`` ones covering the same length, as `F.interpolate` does with
    ``align_corners=False``: "bilinear", or "bicubic" with a kernel of a = -0.75, with antialiasing a = -0.5 (Keys,
    1981) widened to the larger of both cells. ``offset`` is added to ``new`` where the width of a new cell is worked
    out, as DINOv2 does.

    ``new`` may be a symbolic size of a graph being exported: nothing here branches on it. Raises ValueError for another
    ``interpolation``.
    """
    if interpolation not in _SUPPORT:
        raise ValueError(f"interpolation is {interpolation!r}; it must be one of {', '.join(_SUPPORT)}.")
    cells = torch.arange(old, device=device, dtype=torch.float32)
    steps = torch.arange(new, device=device, dtype=torch.float32) + 0.5
    stretch = old / (torch.full((), new, device=device, dtype=torch.float32) + offset)  # old cells for each new one
    centres = steps * stretch - 0.5
    if antialias:
        wide = stretch.clamp(min=1.0)
        weights = _kernel((cells - centres[:, None]) / wide, interpolation, -0.5)
        return weights / weights.sum(1, keepdim=True)
    return _taps(cells, centres, interpolation)


def running_matrix(old: int, new: int, centred: bool, device: torch.device | str = "cpu") -> Float[Tensor, "new old"]:
    """The matrix that takes ``new`` of ``old`` cells, the first ones or with ``centred`` those around the middle, where
    they are enough, and stretches them where they are not, as `resampling_matrix` does without antialiasing,
    "bilinear". ``new`` may be a symbolic size: see there.
    """
    cells = torch.arange(old, device=device, dtype=torch.float32)
    steps = torch.arange(new, device=device, dtype=torch.float32) + 0.5
    count = torch.full((), new, device=device, dtype=torch.float32)
    first = (old // 2 - (count / 2).floor()).clamp(min=0) if centred else 0
    centres = steps * (old / count.clamp(min=old)) - 0.5 + first
    return _taps(cells, centres, "bilinear")


def _taps(cells: Float[Tensor, " old"], centres: Float[Tensor, " new"], interpolation: str) -> Float[Tensor, "new old"]:
    """How much each cell counts at each centre. Cells beyond the border count as the border's own."""
    old = len(cells)
    reach = int(_SUPPORT[interpolation])
    first = centres.floor()
    matrix = torch.zeros_like(centres[:, None] * cells)
    for tap in range(1 - reach, reach + 1):
        places = first + tap
        weight = _kernel(places - centres, interpolation, -0.75)
        matrix = matrix + weight[:, None] * (places.clamp(0, old - 1)[:, None] == cells)
    return matrix


def _kernel(distance: Tensor, interpolation: str, a: float) -> Tensor:
    x = distance.abs()
    if interpolation == "bilinear":
        return (1 - x).clamp(min=0)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
