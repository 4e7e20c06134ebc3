"""The vision tower: images to patches to tokens to an embedding (Dosovitskiy et al., 2020, "ViT")."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.features.mixed_images import MixedImages
from triptych.nn.drop import PatchDropout
from triptych.nn.init import LinearInit, glorot, initialise
from triptych.nn.layout import Rotary, SequenceLayout
from triptych.nn.mixers.base import Abilities, Mixer
from triptych.nn.patch import PatchEmbedding, Size, height_width
from triptych.nn.pool import Pool
from triptych.nn.position import Position, TokenGrid
from triptych.nn.stack import Stack
from triptych.towers.output import TowerOutput

Images = Float[Tensor, "batch channels height width"]


class VisionTower(nn.Module):
    """A ViT, composed of parts.

    The factories are called as ``patch(dim)``, ``mixer(dim)``, ``feedforward(dim)``, ``norm(dim)``,
    ``position(TokenGrid)`` and ``pool(dim, norm)``. ``image_size`` (pixels, one number or height and width) is what
    positions are built for; images of any other size that patches cover are taken too, positions resampled.
    ``input_norm`` is a norm factory for what enters the first block, as CLIP has it; None for no norm there.
    ``registers`` are learned tokens beside the class token (Darcet et al., 2023), which the pool asks for.
    ``layer_scale``, ``stochastic_depth``: see `Stack`; ``patch_dropout``: the share of patches left out in training.
    ``init`` starts the weights of linear maps: see `triptych.nn.init`.

    Raises ValueError where parts do not fit each other.
    """

    def __init__(
        self,
        image_size: Size,
        dim: int,
        depth: int,
        patch: Callable[[int], PatchEmbedding],
        mixer: Callable[[int], Mixer],
        feedforward: Callable[[int], nn.Module],
        norm: Callable[[int], nn.Module],
        position: Callable[[TokenGrid], Position],
        pool: Callable[[int, Callable[[int], nn.Module]], Pool],
        registers: int = 0,
        layer_scale: float | None = None,
        stochastic_depth: float = 0.0,
        patch_dropout: float = 0.0,
        init: LinearInit = glorot,
        input_norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.image_size = height_width(image_size)
        self.patch = patch(dim)
        self.pool = pool(dim, norm)
        self.class_token = nn.Parameter(torch.zeros(1, dim)) if self.pool.class_token else None
        if registers < self.pool.registers:
            raise ValueError(
                f"registers is {registers}, but {type(self.pool).__name__} reads {self.pool.registers} of them; set "
                f"registers to {self.pool.registers} or more, or choose another pool."
            )
        self.registers = nn.Parameter(torch.zeros(registers, dim)) if registers else None
        self.prefix = int(self.pool.class_token) + registers
        self.patch_dropout = PatchDropout(patch_dropout)
        self.input_norm = input_norm(dim) if input_norm else nn.Identity()
        self.stack = Stack(
            dim, depth, mixer, feedforward, norm, layer_scale, stochastic_depth,
            final_norm=not self.pool.norm_after, needs=Abilities(bidirectional=True, packed=True),
        )  # fmt: skip
        grid = self.patch.grid(self.image_size)
        self.position = position(TokenGrid(dim, grid, self.prefix, self.stack.rotary_dim))
        initialise(self, init)

    @property
    def embedding_dim(self) -> int:
        """Width of the pooled embedding, which is that of the tokens unless the pool puts several side by side."""
        return self.pool.width(self.dim)

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.patch.channels

    def forward(self, images: Images | Sequence[Float[Tensor, "channels _ _"]]) -> TowerOutput:
        """Images, float and normalised, to tokens and their pooled embedding.

        A sequence of images ``(channels, height, width)`` of differing sizes runs packed, without padding, and
        `MixedImages` by the route that they name.
        """
        x, layout = self.embed(images)
        x = self.stack(x, layout)
        return TowerOutput(x, self.pool(x, layout), layout)

    def intermediates(self, images: Images | Sequence[Float[Tensor, "channels _ _"]]) -> list[Tensor]:
        """The tokens after each block, normalised as the final ones are; the last entry is `forward`'s ``tokens``."""
        return self.stack.intermediates(*self.embed(images))

    def embed(
        self, images: Images | Sequence[Float[Tensor, "channels _ _"]]
    ) -> tuple[Float[Tensor, "*batch dim"], SequenceLayout]:
        """The tokens that enter the stack, prefix tokens first, and their layout."""
        if not isinstance(images, Tensor):
            x, layout = self._embed_packed(images)
            x = self.input_norm(x)
            if not isinstance(images, MixedImages) or images.native.route == "packed":
                return x, layout
            return layout.unpack(x), layout.to_padded()
        patches, grid = self.patch.cut(images)
        kept = self.patch_dropout(patches)
        x, rotary = self._place(patches, grid, kept)
        layout = SequenceLayout.dense(x.shape[0], x.shape[1] + self.prefix, prefix=self.prefix, device=x.device)
        prefix = self._prefix_tokens()
        if prefix is not None:
            x = torch.cat([prefix.to(x.dtype).expand(x.shape[0], -1, -1), x], dim=1)
        return self.input_norm(x), layout.with_rotary(self._with_still_prefix(rotary))

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

    def _embed_packed(
        self, images: Sequence[Float[Tensor, "channels _ _"]]
    ) -> tuple[Float[Tensor, "total dim"], SequenceLayout]:
        cuts = [self.patch.cut(image[None]) for image in images]
        kept = [self.patch_dropout(patches) for patches, _ in cuts]
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
        if turns[0] is None:
            return x, layout
        cos, sin = (torch.cat(parts) for parts in zip(*map(self._with_still_prefix, turns), strict=True))
        return x, layout.with_rotary(Rotary(cos, sin))


def _rows(x: Tensor, rows: Int[Tensor, "1 kept"] | None) -> Tensor:
    """The kept rows of one image's tokens, or all."""
    return x if rows is None else F.embedding(rows[0], x)


def _pick(
    table: Tensor | None, rotary: Rotary | None, rows: Int[Tensor, "1 kept"] | None
) -> tuple[Tensor | None, Rotary | None]:
    """The places of one image's kept tokens."""
    table = None if table is None else _rows(table, rows)
    return table, None if rotary is None else rotary.map(lambda t: _rows(t, rows))
