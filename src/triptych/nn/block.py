"""The block that every tower stacks."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from triptych.nn.drop import Kept, add_branch
from triptych.nn.layout import SequenceLayout
from triptych.nn.mixers.base import Mixer
from triptych.nn.recompute import Recompute


class LayerScale(nn.Module):
    """A learned gain for each channel of a residual branch, small at first (Touvron et al., 2021, "CaiT")."""

    def __init__(self, dim: int, initial: float) -> None:
        super().__init__()
        self.initial = initial
        self.gain = nn.Parameter(torch.full((dim,), initial))


class Block(nn.Module):
    """Pre-norm transformer block: ``x + mixer(norm(x))``, then ``x + feedforward(norm(x))``.

    ``mixer``, ``feedforward`` and ``norm`` are factories called with ``dim``. ``layer_scale`` is the initial gain of
    both branches, None for no gain. What ``recompute`` holds, if anything, runs the block where gradients are wanted:
    see `triptych.nn.recompute`.
    """

    def __init__(
        self,
        dim: int,
        mixer: Callable[[int], Mixer],
        feedforward: Callable[[int], nn.Module],
        norm: Callable[[int], nn.Module],
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.mixer_norm = norm(dim)
        self.mixer = mixer(dim)
        self.mixer_scale = None if layer_scale is None else LayerScale(dim, layer_scale)
        self.feedforward_norm = norm(dim)
        self.feedforward = feedforward(dim)
        self.feedforward_scale = None if layer_scale is None else LayerScale(dim, layer_scale)
        self.recompute: Recompute | None = None

    def forward(
        self,
        x: Float[Tensor, "*batch dim"],
        layout: SequenceLayout,
        kept_mixer: Kept | None = None,
        kept_feedforward: Kept | None = None,
    ) -> Float[Tensor, "*batch dim"]:
        if self.recompute is not None and torch.is_grad_enabled():
            return self.recompute(self._forward, x, layout, kept_mixer, kept_feedforward)
        return self._forward(x, layout, kept_mixer, kept_feedforward)

    def _forward(
        self, x: Tensor, layout: SequenceLayout, kept_mixer: Kept | None, kept_feedforward: Kept | None
    ) -> Tensor:
        x = add_branch(x, layout, kept_mixer, _gain(self.mixer_scale), self.mix)
        return add_branch(x, layout, kept_feedforward, _gain(self.feedforward_scale), self.transform)

    def mix(self, x: Tensor, layout: SequenceLayout) -> Tensor:
        """The branch that moves information between tokens."""
        return self.mixer(self.mixer_norm(x), layout)[0]

    def transform(self, x: Tensor, layout: SequenceLayout) -> Tensor:
        """The branch that treats each token by itself."""
        return self.feedforward(self.feedforward_norm(x))


def _gain(scale: LayerScale | None) -> Tensor | None:
    return None if scale is None else scale.gain
