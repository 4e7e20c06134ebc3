"""What towers over patches share: patches of a picture or of a spectrogram to tokens to an embedding."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.nn.drop import PatchDropout
from triptych.nn.init import LinearInit, initialise
from triptych.nn.layout import Rotary, SequenceLayout
from triptych.nn.mixers.base import Abilities, Mixer
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import Pool
from triptych.nn.position import Position, TokenGrid
from triptych.nn.stack import Stack
from triptych.towers.output import TowerOutput


class PatchTower(nn.Module):
    """A transformer over the patches of images ``(channels, height, width)``, composed of parts.

    The factories are called as ``mixer(dim)``, ``feedforward(dim)``, ``norm(dim)``, ``position(TokenGrid)`` and
    ``pool(dim, norm)``. ``size`` (height, width) is what positions are built for. The rest
    is as `VisionTower` and `AudioTower` say, which bring what they read into this form.

    Raises ValueError where parts do not fit each other.
    """

    def __init__(
        self,
        size: tuple[int, int],
        dim: int,
        depth: int,
        patch: PatchEmbedding,
        mixer: Callable[[int], Mixer],
        feedforward: Callable[[int], nn.Module],
        norm: Callable[[int], nn.Module],
        position: Callable[[TokenGrid], Position],
        pool: Callable[[int, Callable[[int], nn.Module]], Pool],
        registers: int,
        layer_scale: float | None,
        stochastic_depth: float,
        patch_dropout: PatchDropout,
        init: LinearInit,
        input_norm: Callable[[int], nn.Module] | None,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.patch = patch
        self.pool = pool(dim, norm)
        self.class_token = nn.Parameter(torch.zeros(1, dim)) if self.pool.class_token else None
        if registers < self.pool.registers:
            raise ValueError(
                f"registers is {registers}, but {type(self.pool).__name__} reads {self.pool.registers} of them; set "
                f"registers to {self.pool.registers} or more, or choose another pool."
            )
        self.registers = nn.Parameter(torch.zeros(registers, dim)) if registers else None
        self.prefix = int(self.pool.class_token) + registers
        self.patch_dropout = patch_dropout
        self.input_norm = input_norm(dim) if input_norm else nn.Identity()
        self.stack = Stack(
            dim, depth, mixer, feedforward, norm, layer_scale, stochastic_depth,
            final_norm=not self.pool.norm_after, needs=Abilities(bidirectional=True, packed=True),
        )  # fmt: skip
        self.position = position(TokenGrid(dim, self.patch.grid(size), self.prefix, self.stack.rotary_dim))
        initialise(self, init)

    @property
    def embedding_dim(self) -> int:
        """Width of the pooled embedding, which is that of the tokens unless the pool puts several side by side."""
        return self.pool.width(self.dim)

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.patch.channels

    def run(self, x: Float[Tensor, "*batch dim"], layout: SequenceLayout) -> TowerOutput:
        """Tokens that were embedded, through the stack, and their pooled embedding."""
        x = self.stack(x, layout)
        return TowerOutput(x, self.pool(x, layout), layout)

    def embed_dense(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch tokens dim"], SequenceLayout]:
        """Images of one size to the tokens that enter the stack, prefix tokens first, and their layout."""
        patches, grid = self.patch.cut(images)
        kept = self.patch_dropout(patches, grid)
        x, rotary = self._place(patches, grid, kept)
        layout = SequenceLayout.dense(x.shape[0], x.shape[1] + self.prefix, prefix=self.prefix, device=x.device)
        prefix = self._prefix_tokens()
        if prefix is not None:
            x = torch.cat([prefix.to(x.dtype).expand(x.shape[0], -1, -1), x], dim=1)
        return self.input_norm(x), layout.with_rotary(self._with_still_prefix(rotary))

    def embed_packed(
        self, images: Sequence[Float[Tensor, "channels _ _"]]
    ) -> tuple[Float[Tensor, "total dim"], SequenceLayout]:
        """Images of differing sizes to the tokens that enter the stack, end to end, and their packed layout."""
        cuts = [self.patch.cut(image[None]) for image in images]
        kept = [self.patch_dropout(patches, grid) for patches, grid in cuts]
        device = cuts[0][0].device
        # Images of one grid share its table and its angles.
        places = {grid: (self.position.table(grid, device), self.position.rotary(grid, device)) for _, grid in cuts}
        tables, turns = zip(
            *(_pick(*places[grid], rows) for (_, grid), rows in zip(cuts, kept, strict=True)), strict=True
        )
        patches = [_rows(each[0], rows) for (each, _), rows in zip(cuts, kept, strict=True)]
        x = self.patch(torch.cat(patches))
        if tables[0] is not None:
            x = x + torch.cat(tables).to(x.dtype)
        prefix = self._prefix_tokens()
        counts = [len(each) for each in patches]
        if prefix is not None:
            start = prefix.to(x.dtype)
            x = torch.cat([part for sequence in x.split(counts) for part in (start, sequence)])
        layout = SequenceLayout.packed_from(
            [count + self.prefix for count in counts], prefix=self.prefix, device=device
        )
        if turns[0] is not None:
            cos, sin = (torch.cat(parts) for parts in zip(*map(self._with_still_prefix, turns), strict=True))
            layout = layout.with_rotary(Rotary(cos, sin))
        return self.input_norm(x), layout

    def _place(
        self, patches: Tensor, grid: tuple[int, int], kept: Int[Tensor, "batch kept"] | None
    ) -> tuple[Float[Tensor, "batch kept dim"], Rotary | None]:
        """Tokens of the kept patches at their places, and the angles of those places."""
        table, rotary = self.position.table(grid, patches.device), self.position.rotary(grid, patches.device)
        if kept is not None:
            patches = patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[-1]))
            table = None if table is None else F.embedding(kept, table)
            rotary = None if rotary is None else rotary.map(lambda t: F.embedding(kept, t))
        x = self.patch(patches)
        return (x if table is None else x + table.to(x.dtype)), rotary

    def _prefix_tokens(self) -> Float[Tensor, "prefix dim"] | None:
        parts: list[Tensor] = [part for part in (self.class_token, self.registers) if part is not None]
        if not parts:
            return None
        tokens, places = torch.cat(parts), self.position.prefix_table()
        return tokens if places is None else tokens + places

    def _with_still_prefix(self, rotary: Rotary | None) -> Rotary | None:
        """Angle zero for the prefix tokens, before the angles of the patches."""
        if rotary is None or self.prefix == 0:
            return rotary
        cos, sin = (
            F.pad(table, (0, 0, self.prefix, 0), value=still) for table, still in zip(rotary, (1.0, 0.0), strict=True)
        )
        return Rotary(cos, sin)


def _rows(x: Tensor, rows: Int[Tensor, "1 kept"] | None) -> Tensor:
    """The kept rows of one image's tokens, or all."""
    return x if rows is None else F.embedding(rows[0], x)


def _pick(
    table: Tensor | None, rotary: Rotary | None, rows: Int[Tensor, "1 kept"] | None
) -> tuple[Tensor | None, Rotary | None]:
    """The places of one image's kept tokens."""
    table = None if table is None else _rows(table, rows)
    return table, None if rotary is None else rotary.map(lambda t: _rows(t, rows))
