"""Learned positions of spectrograms, whose second axis is time: a shorter clip is a part, not a smaller picture."""

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.nn.coordinates import check_axes
from triptych.nn.position import LearnedPosition, TokenGrid, resample_grid
from triptych.nn.resample import resampling_matrix, running_matrix


class LearnedTimePosition(LearnedPosition):
    """One learned vector for each band and moment of a spectrogram (Gong et al., 2021, "AST").

    A clip that is shorter than what the table was built for takes its first moments, or with ``centred`` those around
    its middle, as AST does where it shortens a model for good; a longer one takes all of them, stretched. Bands are
    stretched. Bilinear, in float32.
    """

    def __init__(self, tokens: TokenGrid, embed_prefix: bool = True, centred: bool = False) -> None:
        super().__init__(tokens, embed_prefix, "bilinear", antialias=False)
        self.centred = centred

    def table(self, grid: tuple[int, ...], device: torch.device) -> Float[Tensor, "tokens dim"]:
        if torch.compiler.is_exporting():
            return self._symbolic(grid)
        if grid == self.built_grid:
            return self.places
        check_axes(grid, self.built_grid)
        (bands, moments), (_, wanted) = self.built_grid, grid
        if wanted > moments:
            return resample_grid(self.places, self.built_grid, grid, self.interpolation, self.antialias)
        first = moments // 2 - wanted // 2 if self.centred else 0
        cut = self.places.unflatten(0, self.built_grid)[:, first : first + wanted].flatten(0, 1)
        same = grid[0] == bands
        return cut if same else resample_grid(cut, (bands, wanted), grid, self.interpolation, self.antialias)

    def _symbolic(self, grid: tuple[int, ...]) -> Float[Tensor, "tokens dim"]:
        """The same by one road for every number of moments, which an exported graph does not know yet."""
        (bands, moments), (rows, wanted) = self.built_grid, grid
        device, table = self.places.device, self.places.float().unflatten(0, self.built_grid)
        table = running_matrix(moments, wanted, self.centred, device) @ table
        stretch = resampling_matrix(bands, rows, self.interpolation, self.antialias, device)
        return (stretch @ table.flatten(1)).unflatten(1, (wanted, -1)).flatten(0, 1).to(self.places.dtype)


@torch.no_grad()
def transfer_grid(
    places: Float[Tensor, "places dim"], old: tuple[int, int], new: tuple[int, int]
) -> Float[Tensor, "new_places dim"]:
    """A table of positions on grid ``old`` as a table of its own on grid ``new``, by AST's rule: along each axis the
    middle of it where the new grid is smaller, all of it stretched where it is larger. Bilinear, in float32.
    """
    check_axes(new, old)
    table = places.unflatten(0, old)
    for axis, (then, now) in enumerate(zip(old, new, strict=True)):
        if now < then:
            table = table.narrow(axis, then // 2 - now // 2, now)
    cut = (table.shape[0], table.shape[1])
    return resample_grid(table.flatten(0, 1), cut, new, "bilinear", antialias=False)
