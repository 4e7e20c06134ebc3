"""Low-rank adapters (Hu et al., 2021, "LoRA"): a frozen linear map plus a trainable change of small rank."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.nn.linear import FusedLinear, Linear


class LowRankLinear(FusedLinear):
    """``base(x) + alpha / rank * up(down(dropout(x)))``, starting as ``base``: ``up`` starts at zero.

    Shares the weight and bias of ``base`` and freezes them. Each map in a `FusedLinear` (query, key, value) gets an
    adapter of its own. `merge` adds the change to the weight, so that the map costs what ``base`` cost.

    Raises ValueError for a rank that is no saving, below 1 or at least the smaller side of a map.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float = 0.0) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        fused = isinstance(base, FusedLinear)
        self.splits = list(base.splits) if fused else [base.out_features]
        self.biased = list(base.biased) if fused else [base.bias is not None]
        smaller = min(self.in_features, *self.splits)
        if not 1 <= rank < smaller:
            raise ValueError(f"rank is {rank}; it must be at least 1 and below {smaller}, the smaller side of the map.")
        self.rank, self.scale = rank, alpha / rank
        self.weight, self.bias = base.weight, base.bias
        for parameter in base.parameters():
            parameter.requires_grad_(False)
        self.down = nn.Parameter(base.weight.new_empty(rank * len(self.splits), self.in_features))
        self.up = nn.Parameter(base.weight.new_zeros(self.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.dropout = nn.Dropout(dropout)
        self._unmerged: Tensor | None = None

    @property
    def merged(self) -> bool:
        """Whether the weight holds the change."""
        return self._unmerged is not None

    def forward(self, input: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch out_features"]:
        y = super().forward(input)
        if self.merged:
            return y
        small = F.linear(self.dropout(input), self.down).split(self.rank, dim=-1)
        changes = [F.linear(x, up) for x, up in zip(small, self.up.split(self.splits), strict=True)]
        return y + self.scale * (changes[0] if len(changes) == 1 else torch.cat(changes, dim=-1))

    def change(self) -> Float[Tensor, "out_features in_features"]:
        """What the adapter adds to the weight."""
        pairs = zip(self.up.split(self.splits), self.down.split(self.rank), strict=True)
        return self.scale * torch.cat([up @ down for up, down in pairs])

    @torch.no_grad()
    def merge(self) -> None:
        """Adds the change to the weight."""
        if not self.merged:
            self._unmerged = self.weight.clone()
            self.weight += self.change()

    @torch.no_grad()
    def unmerge(self) -> None:
        """Takes the change out of the weight again, to the last bit."""
        if self._unmerged is not None:
            self.weight.copy_(self._unmerged)
            self._unmerged = None


# What a task adds to towers, by the names that models give it: it is trained in full beside the adapters.
HEADS = ("head", "projections", "logit_scale", "logit_bias")


def add_adapters(
    model: nn.Module,
    rank: int = 8,
    alpha: float = 16.0,
    dropout: float = 0.0,
    targets: Sequence[str] = ("qkv", "out"),
    trained: Sequence[str] = HEADS,
) -> list[str]:
    """Freezes ``model`` and puts an adapter at every linear map whose name ends in one of ``targets``, in place.

    What lies below the names ``trained`` stays trainable and gets no adapter. Returns the paths of the adapted maps.
    Raises ValueError for a target that no linear map has.
    """
    kept = tuple(f"{name}." for name in trained)
    maps = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and not f"{path}.".startswith(kept)
    }
    names = sorted({path.rpartition(".")[2] for path in maps})
    for target in targets:
        if target not in names:
            raise ValueError(f"no linear map is called {target!r}; adapters can stand at {', '.join(names)}.")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(f"{name}.".startswith(kept))
    adapted = [path for path in maps if path.rpartition(".")[2] in targets]
    for path in adapted:
        model.set_submodule(path, LowRankLinear(maps[path], rank, alpha, dropout))
    return adapted


def fold_adapters(model: nn.Module) -> nn.Module:
    """Puts plain linear maps, their weights changed for good, in the place of the adapters of ``model``; returns it."""
    adapters = [(path, module) for path, module in model.named_modules() if isinstance(module, LowRankLinear)]
    for path, adapter in adapters:
        adapter.merge()
        with torch.device("meta"):
            fused = len(adapter.splits) > 1
            plain = (FusedLinear(adapter.in_features, adapter.splits, adapter.biased) if fused
                     else Linear(adapter.in_features, adapter.out_features))  # fmt: skip
        plain.weight, plain.bias = adapter.weight, adapter.bias
        model.set_submodule(path, plain.train(adapter.training))
    return model
