"""What a tower gives."""

from typing import NamedTuple

from torch import Tensor

from triptych.nn.layout import SequenceLayout


class TowerOutput(NamedTuple):
    """``tokens``: ``(batch, tokens, dim)``, or ``(total, dim)`` where the layout is packed, prefix tokens first;
    ``pooled``: ``(batch, dim)``; ``layout``: where the sequences lie.
    """

    tokens: Tensor
    pooled: Tensor
    layout: SequenceLayout
