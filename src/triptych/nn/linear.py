"""Several linear maps of one input, as one matrix product."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FusedLinear(nn.Linear):
    """Linear maps to ``splits`` outputs side by side in one weight (query-key-value, gate-up).

    The splits are known, so that the initialisation treats each as its own matrix, and an adapter or an importer can
    address one.
    """

    def __init__(self, in_features: int, splits: Sequence[int], bias: bool = True) -> None:
        super().__init__(in_features, sum(splits), bias)
        self.splits = list(splits)

    def parts(self, x: Float[Tensor, "*batch in_features"]) -> tuple[Tensor, ...]:
        """The outputs, one view for each split, of shape ``(*batch, split)``."""
        return torch.split(self(x), self.splits, dim=-1)
