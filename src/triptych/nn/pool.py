"""One vector from the tokens of a sequence. A factory is called as ``pool(dim, norm)``, ``norm`` being the tower's
norm factory.

A pool says two things about its tower: ``class_token``, whether it wants one, and ``norm_after``, whether it normalises
its result itself, so that the stack needs no final norm.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from triptych.nn.attention import attend_rows
from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.layout import SequenceLayout
from triptych.nn.linear import FusedLinear, Linear

Norm = Callable[[int], nn.Module]


class Pool(nn.Module, ABC):
    """One vector from each sequence."""

    class_token: bool
    """Whether it wants a class token, first in every sequence."""
    norm_after: bool
    """Whether it normalises its result itself."""
    registers: int = 0
    """How many registers it reads, so that the tower must have at least as many."""

    def width(self, dim: int) -> int:
        """Width of what it makes of tokens ``dim`` wide."""
        return dim

    @abstractmethod
    def forward(self, x: Tensor, layout: SequenceLayout) -> Tensor: ...


class ClassTokenPool(Pool):
    """The first token of each sequence (Dosovitskiy et al., 2020)."""

    class_token = True

    def __init__(self, dim: int, norm: Norm, norm_after: bool = False) -> None:
        super().__init__()
        self.norm_after = norm_after
        self.norm = norm(dim) if norm_after else nn.Identity()

    def forward(self, x: Float[Tensor, "*batch dim"], layout: SequenceLayout) -> Float[Tensor, "samples dim"]:
        return self.norm(prefix_token(x, layout, 0))


class MeanPool(Pool):
    """The mean of the real content tokens: neither padding nor prefix tokens count.

    With ``norm_after`` the norm comes after the mean (timm's ``global_pool="avg"``), else before it. ``class_token``
    keeps a class token that takes part in the mixing but not in the mean.
    """

    def __init__(self, dim: int, norm: Norm, norm_after: bool = True, class_token: bool = False) -> None:
        super().__init__()
        self.norm_after = norm_after
        self.class_token = class_token
        self.norm = norm(dim) if norm_after else nn.Identity()

    def forward(self, x: Float[Tensor, "*batch dim"], layout: SequenceLayout) -> Float[Tensor, "samples dim"]:
        return self.norm(mean_of_content(x, layout))


class ClassMeanPool(Pool):
    """The class token and the mean of the content tokens side by side, twice as wide as a token: what DINOv2's linear
    classifiers read (Oquab et al., 2023). The norm comes before.
    """

    class_token = True
    norm_after = False

    def __init__(self, dim: int, norm: Norm) -> None:
        super().__init__()

    def width(self, dim: int) -> int:
        return 2 * dim

    def forward(self, x: Float[Tensor, "*batch dim"], layout: SequenceLayout) -> Float[Tensor, "samples width"]:
        return torch.cat([prefix_token(x, layout, 0), mean_of_content(x, layout)], dim=-1)


class DistilledPool(Pool):
    """The class token and the distillation token side by side, for a `DistilledHead` (Touvron et al., 2020, "DeiT").
    The tower's first register is the distillation token. The norm comes before.
    """

    class_token = True
    norm_after = False
    registers = 1

    def __init__(self, dim: int, norm: Norm) -> None:
        super().__init__()

    def width(self, dim: int) -> int:
        return 2 * dim

    def forward(self, x: Float[Tensor, "*batch dim"], layout: SequenceLayout) -> Float[Tensor, "samples width"]:
        return torch.cat([prefix_token(x, layout, 0), prefix_token(x, layout, 1)], dim=-1)


class PrefixMeanPool(Pool):
    """The mean of the class token and the distillation token, the tower's first register (Gong et al., 2021, "AST").
    The norm comes before.
    """

    class_token = True
    norm_after = False
    registers = 1

    def __init__(self, dim: int, norm: Norm) -> None:
        super().__init__()

    def forward(self, x: Float[Tensor, "*batch dim"], layout: SequenceLayout) -> Float[Tensor, "samples dim"]:
        return (prefix_token(x, layout, 0) + prefix_token(x, layout, 1)) / 2


class LastTokenPool(Pool):
    """The last real token of each sequence: the end token of CLIP's captions (Radford et al., 2021), and the last place
    where padding is read as SigLIP reads it.
    """

    class_token = False

    def __init__(self, dim: int, norm: Norm, norm_after: bool = False) -> None:
        super().__init__()
        self.norm_after = norm_after
        self.norm = norm(dim) if norm_after else nn.Identity()

    def forward(self, x: Float[Tensor, "*batch dim"], layout: SequenceLayout) -> Float[Tensor, "samples dim"]:
        return self.norm(last_token(x, layout))


class AttentionPool(Pool):
    """One learned query attends to the content tokens, and a feed-forward follows (Zhai et al., 2022, "MAP head";
    SigLIP).
    """

    class_token = False

    def __init__(
        self,
        dim: int,
        norm: Norm,
        heads: int = 8,
        feedforward: Callable[[int], nn.Module] = GELUFeedForward,
        norm_after: bool = False,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"dim={dim} is no multiple of heads={heads}; choose a number of heads that divides dim.")
        self.heads = heads
        self.norm_after = norm_after
        self.latent = nn.Parameter(torch.zeros(1, dim))
        self.query = Linear(dim, dim)
        self.key_value = FusedLinear(dim, (dim, dim))
        self.out = Linear(dim, dim)
        self.feedforward_norm = norm(dim)
        self.feedforward = feedforward(dim)
        self.norm = norm(dim) if norm_after else nn.Identity()

    def forward(self, x: Float[Tensor, "*batch dim"], layout: SequenceLayout) -> Float[Tensor, "samples dim"]:
        # With one query a sequence attention is a sliver of the work, so packed sequences take the padded route too.
        content = (layout.unpack(x) if layout.packed else x)[:, layout.prefix :]
        mask = None if layout.sizes is None else layout.real_tokens()[:, layout.prefix :]
        latent = self.query(self.latent).expand(layout.batch, -1, -1)
        parts = (latent, *self.key_value.parts(content))
        query, key, value = (part.unflatten(-1, (self.heads, -1)) for part in parts)
        y = self.out(attend_rows(query, key, value, key_mask=mask).flatten(-2)[:, 0])
        return self.norm(y + self.feedforward(self.feedforward_norm(y)))


def prefix_token(x: Float[Tensor, "*batch dim"], layout: SequenceLayout, place: int) -> Float[Tensor, "samples dim"]:
    """The prefix token at ``place`` of each sequence."""
    if not layout.packed:
        return x[:, place]
    assert layout.cu_seqlens is not None
    return x.index_select(0, layout.cu_seqlens[:-1] + place)


def last_token(x: Float[Tensor, "*batch dim"], layout: SequenceLayout) -> Float[Tensor, "samples dim"]:
    """The last real token of each sequence."""
    if layout.packed:
        assert layout.cu_seqlens is not None
        return x.index_select(0, layout.cu_seqlens[1:] - 1)
    if layout.lengths is None:
        return x[:, -1]
    return x[torch.arange(layout.batch, device=x.device), layout.lengths - 1]


def mean_of_content(x: Float[Tensor, "*batch dim"], layout: SequenceLayout) -> Float[Tensor, "samples dim"]:
    """Mean over the real tokens of each sequence that are not prefix tokens."""
    if layout.packed and layout.sizes is not None:
        counts = torch.tensor([[size - layout.prefix] for size in layout.sizes], device=x.device, dtype=x.dtype)
        content = x if layout.prefix == 0 else x * (layout.places() >= layout.prefix)[:, None]
        return x.new_zeros(layout.batch, x.shape[-1]).index_add(0, layout.owners(), content) / counts
    content = (layout.unpack(x) if layout.packed else x)[:, layout.prefix :]
    if layout.sizes is None:
        return content.mean(dim=1)
    real = layout.real_tokens()[:, layout.prefix :, None]
    return (content * real).sum(dim=1) / real.sum(dim=1)
