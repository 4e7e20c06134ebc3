"""The text tower: token ids to an embedding, causal as CLIP's (Radford et al., 2021) or seeing both ways as SigLIP's
(Zhai et al., 2023).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from triptych.nn.init import LinearInit, glorot, initialise
from triptych.nn.layout import SequenceLayout
from triptych.nn.mixers.base import Abilities, Mixer
from triptych.nn.pool import Pool
from triptych.nn.position import Position, TokenGrid
from triptych.nn.stack import Stack
from triptych.towers.output import TowerOutput


class TextTower(nn.Module):
    """A transformer over token ids, composed of parts.

    The factories are called as ``mixer(dim)``, ``feedforward(dim)``, ``norm(dim)``, ``position(TokenGrid)`` and
    ``pool(dim, norm)``. ``context_length`` is the most tokens that a text may have. Work is spent on real tokens only:
    those up to the end of each text, by its length or by its first ``end_token``. ``reads_padding`` takes padding for
    tokens like any other instead, as SigLIP was trained. ``token_dropout`` leaves out the embedding of that share of
    tokens in training, their positions staying ("word dropout", Iyyer et al., 2015), so that a text is understood by
    the words that are known. ``layer_scale``, ``stochastic_depth``: see `Stack`; ``init``:
    see `triptych.nn.init`.

    Raises ValueError where parts do not fit each other.
    """

    def __init__(
        self,
        vocab_size: int,
        context_length: int,
        dim: int,
        depth: int,
        mixer: Callable[[int], Mixer],
        feedforward: Callable[[int], nn.Module],
        norm: Callable[[int], nn.Module],
        position: Callable[[TokenGrid], Position],
        pool: Callable[[int, Callable[[int], nn.Module]], Pool],
        causal: bool = True,
        end_token: int | None = None,
        reads_padding: bool = False,
        layer_scale: float | None = None,
        stochastic_depth: float = 0.0,
        init: LinearInit = glorot,
        token_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= token_dropout < 1:
            raise ValueError(f"token_dropout={token_dropout} must be at least 0 and below 1.")
        self.token_dropout = token_dropout
        if vocab_size < 1 or context_length < 1:
            raise ValueError(f"vocab_size={vocab_size} and context_length={context_length} must both be at least 1.")
        self.vocab_size, self.context_length, self.dim = vocab_size, context_length, dim
        self.causal, self.end_token, self.reads_padding = causal, end_token, reads_padding
        self.pool = pool(dim, norm)
        if self.pool.class_token or self.pool.registers:
            raise ValueError(f"{type(self.pool).__name__} reads a class token, which a text tower has not.")
        self.token_embedding = nn.Embedding(vocab_size, dim)
        self.stack = Stack(
            dim, depth, mixer, feedforward, norm, layer_scale, stochastic_depth, final_norm=not self.pool.norm_after,
            needs=Abilities(causal=causal, bidirectional=not causal, packed=True),
        )  # fmt: skip
        self.position = position(TokenGrid(dim, (context_length,), 0, self.stack.rotary_dim))
        initialise(self, init)

    @property
    def embedding_dim(self) -> int:
        """Width of the pooled embedding."""
        return self.pool.width(self.dim)

    def forward(self, ids: Int[Tensor, "batch tokens"], lengths: Int[Tensor, " batch"] | None = None) -> TowerOutput:
        """Ids to tokens, packed where the texts differ in length, and their pooled embedding.

        ``lengths`` are the real tokens of each text, its start and end tokens included; without them a text ends with
        its first ``end_token``, and is the whole row where there is none. Lengths on the host spare a wait for the
        device. Raises ValueError where a text is longer than ``context_length``.
        """
        x, layout = self.embed(ids, lengths)
        x = self.stack(x, layout)
        return TowerOutput(x, self.pool(x, layout), layout)

    def intermediates(
        self, ids: Int[Tensor, "batch tokens"], lengths: Int[Tensor, " batch"] | None = None
    ) -> list[Tensor]:
        """The tokens after each block, normalised as the final ones are; the last entry is `forward`'s ``tokens``."""
        return self.stack.intermediates(*self.embed(ids, lengths))

    def embed(
        self, ids: Int[Tensor, "batch tokens"], lengths: Int[Tensor, " batch"] | None = None
    ) -> tuple[Float[Tensor, "*batch dim"], SequenceLayout]:
        """The tokens that enter the stack, with their positions, and their layout."""
        layout = self._layout(ids, lengths)
        grid = (self.context_length,)
        table, rotary = self.position.table(grid, ids.device), self.position.rotary(grid, ids.device)
        if layout.packed:
            places = layout.places()
            x = self._embedded(ids[layout.owners(), places])
            rotary = None if rotary is None else rotary.map(lambda t: t[places])
            table = None if table is None else nn.functional.embedding(places, table)
        else:
            x = self._embedded(ids)
            rotary = None if rotary is None else rotary.map(lambda t: t[: ids.shape[1]])
            table = None if table is None else table[: ids.shape[1]]
        return (x if table is None else x + table.to(x.dtype)), layout.with_rotary(rotary)

    def _embedded(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        x = self.token_embedding(ids)
        if not self.training or not self.token_dropout:
            return x
        kept = torch.rand(ids.shape, device=ids.device) >= self.token_dropout
        return x * kept[..., None]

    def _layout(self, ids: Int[Tensor, "batch tokens"], lengths: Int[Tensor, " batch"] | None) -> SequenceLayout:
        """Packed where there is padding to leave out; texts of one length need neither masks nor gathers."""
        if ids.shape[1] > self.context_length:
            raise ValueError(
                f"The texts have {ids.shape[1]} tokens, but the tower has {self.context_length} places; have the "
                "tokenizer cut them, or build the tower with a larger context_length."
            )
        if lengths is None and self.end_token is not None:
            lengths = lengths_by_end(ids, self.end_token)
        if lengths is None or self.reads_padding:
            return SequenceLayout.dense(*ids.shape, causal=self.causal, device=ids.device)
        sizes = lengths.tolist()
        if max(sizes) > ids.shape[1]:
            raise ValueError(f"A text is {max(sizes)} tokens long, but the rows hold only {ids.shape[1]}.")
        if min(sizes) == ids.shape[1]:
            return SequenceLayout.dense(*ids.shape, causal=self.causal, device=ids.device)
        return SequenceLayout.packed_from(sizes, causal=self.causal, device=ids.device)


def lengths_by_end(ids: Int[Tensor, "batch tokens"], end_token: int) -> Int[Tensor, " batch"]:
    """The tokens of each text up to its first end token, which counts; the whole row where there is none.

    CLIP's own code takes the largest id of a row, which is the same where the end token has the largest one.
    """
    ends = ids == end_token
    return torch.where(ends.any(1), ends.int().argmax(1) + 1, ids.shape[1])
