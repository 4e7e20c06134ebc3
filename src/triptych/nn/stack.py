"""A stack of blocks: depth, stochastic depth, the final norm."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from triptych.nn.block import Block
from triptych.nn.drop import Kept, draw_kept
from triptych.nn.layout import SequenceLayout
from triptych.nn.mixers.base import Abilities, Mixer, require
from triptych.nn.recompute import Recompute

NOTHING = Abilities()


class Stack(nn.Module):
    """``depth`` blocks and a final norm.

    ``stochastic_depth`` is the rate at which the last block's branches are dropped, for each sample; it grows linearly
    from 0 at the first block. ``needs`` is what the tower asks of the mixer: one that cannot raises ValueError here.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        mixer: Callable[[int], Mixer],
        feedforward: Callable[[int], nn.Module],
        norm: Callable[[int], nn.Module],
        layer_scale: float | None = None,
        stochastic_depth: float = 0.0,
        final_norm: bool = True,
        needs: Abilities = NOTHING,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth is {depth}; a stack needs at least one block.")
        if not 0 <= stochastic_depth < 1:
            raise ValueError(f"stochastic_depth is {stochastic_depth}; it must be at least 0 and below 1.")
        blocks = [Block(dim, mixer, feedforward, norm, layer_scale) for _ in range(depth)]
        for block in blocks:
            require(block.mixer, needs)
        self.rotary_dim = blocks[0].mixer.rotary_dim
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm(dim) if final_norm else nn.Identity()
        self.rates = [stochastic_depth * i / (depth - 1) for i in range(depth)] if depth > 1 else [stochastic_depth]

    def recompute(self, how: Recompute | None, every: int = 1) -> None:
        """Has each ``every``-th block, from the first on, compute again what the backward pass needs, as `how` does
        (`triptych.nn.recompute`); the others keep it. None has all keep it, as at first.
        """
        for place, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            block.recompute = how if place % every == 0 else None

    def forward(self, x: Float[Tensor, "*batch dim"], layout: SequenceLayout) -> Float[Tensor, "*batch dim"]:
        """Tokens to tokens, the final norm applied."""
        for block, kept in zip(self.blocks, self._draw(layout), strict=True):
            x = block(x, layout, *kept)
        return self.norm(x)

    def intermediates(self, x: Float[Tensor, "*batch dim"], layout: SequenceLayout) -> list[Tensor]:
        """The tokens after each block, each through the final norm, so that the last of them is what `forward`
        returns.
        """
        features = []
        for block, kept in zip(self.blocks, self._draw(layout), strict=True):
            x = block(x, layout, *kept)
            features.append(self.norm(x))
        return features

    def _draw(self, layout: SequenceLayout) -> list[tuple[Kept | None, Kept | None]]:
        if not self.training or self.rates[-1] == 0:
            return [(None, None)] * len(self.blocks)
        kept = draw_kept([rate for rate in self.rates for _ in range(2)], layout)
        return list(zip(kept[::2], kept[1::2], strict=True))
