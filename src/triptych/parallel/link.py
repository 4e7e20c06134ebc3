"""Where the stages of a pipeline meet: stacks of which a process has some blocks, and the tokens that pass between."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.nn.layout import SequenceLayout
from triptych.nn.stack import Stack


@dataclass(frozen=True)
class Crossing:
    """The tokens of one stack for one micro-batch, as they pass between stages.

    Args:
        shape: of the tokens, packed or not; the last axis is their width.
        dtype: of the tokens.
        arrives_learning: whether gradients go back to the stage before: it trains something that they depend on.
        leaves_learning: whether they come from the stage after.
    """

    shape: torch.Size
    dtype: torch.dtype
    arrives_learning: bool
    leaves_learning: bool

    @property
    def rows(self) -> int:
        """How many tokens there are."""
        return self.shape[:-1].numel()


@dataclass
class Link:
    """What this stage was given for a micro-batch and what it gives on, in the order in which stacks are called.

    Args:
        stage: of this process.
        stages: how many there are.
    """

    stage: int
    stages: int
    measured: list[Crossing] | None = None
    _arrived: Iterator[Tensor] | None = None
    _left: list[Tensor] = field(default_factory=list)

    @property
    def first(self) -> bool:
        """Whether this stage reads the input."""
        return self.stage == 0

    @property
    def last(self) -> bool:
        """Whether what this stage makes of the tokens counts; what other ones make has the shape of it."""
        return self.stage == self.stages - 1

    @contextmanager
    def measuring(self) -> Iterator[list[Crossing]]:
        """Within it stacks do not run, and say what would cross."""
        self.measured = []
        try:
            yield self.measured
        finally:
            self.measured = None

    @contextmanager
    def open(self, arrived: Sequence[Tensor]) -> Iterator[list[Tensor]]:
        """Within it stacks run on tokens that have arrived; gives the list of what leaves."""
        self._arrived, self._left = iter(arrived), []
        try:
            yield self._left
        finally:
            self._arrived, self._left = None, []

    def enter(self, x: Tensor) -> Tensor:
        """The tokens that this stage's blocks take, where `x` are those that its own embedding made."""
        if self._arrived is None:
            raise RuntimeError("a model in stages runs by its pipeline only: see triptych.parallel.pipeline")
        return x if self.first else next(self._arrived)

    def leave(self, x: Tensor) -> Tensor:
        """Takes tokens to the next stage; what goes on here in their place counts for nothing."""
        self._left.append(x)
        return torch.zeros_like(x)


class StagedStack(Stack):
    """A stack of which this process has some blocks. Its random draws are those of the whole stack."""

    link: Link
    own: range
    arrives_learning: bool
    leaves_learning: bool

    def forward(self, x: Float[Tensor, "*batch dim"], layout: SequenceLayout) -> Float[Tensor, "*batch dim"]:
        """What this stage does to the tokens; in the last stage, what the whole stack does."""
        if self.link.measured is not None:
            self.link.measured.append(Crossing(x.shape, x.dtype, self.arrives_learning, self.leaves_learning))
            return torch.zeros_like(x)
        x = self.link.enter(x)
        drawn = self._draw(layout)
        for number in self.own:
            x = self.blocks[number](x, layout, *drawn[number])
        return self.norm(x) if self.link.last else self.link.leave(x)
