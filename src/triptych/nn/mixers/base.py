"""What a token mixer is, and what it can declare itself able to do."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from torch import Tensor, nn

from triptych.nn.layout import SequenceLayout


@dataclass(frozen=True)
class Abilities:
    """What a mixer can do, or what a tower needs of it."""

    causal: bool = False
    bidirectional: bool = False
    packed: bool = False
    incremental: bool = False


class Mixer(nn.Module, ABC):
    """Moves information between the tokens of a sequence: ``mixer(x, layout, state=None) -> (y, state)``.

    ``x`` and ``y`` are ``(batch, tokens, dim)``, or ``(total, dim)`` in a packed layout. ``state`` carries what an
    incremental mixer knows of the tokens before ``x``; None means that nothing is carried, and then the returned state
    is None.
    """

    abilities: ClassVar[Abilities]
    rotary_dim: int | None
    """Width of the vectors that rotary positions turn, or None where the mixer takes none."""

    @abstractmethod
    def forward(self, x: Tensor, layout: SequenceLayout, state: Any = None) -> tuple[Tensor, Any]: ...


def require(mixer: Mixer, needs: Abilities) -> None:
    """Raises ValueError, naming what is missing, unless the mixer can do all that is needed."""
    missing = [f.name for f in fields(needs) if getattr(needs, f.name) and not getattr(mixer.abilities, f.name)]
    if missing:
        able = [f.name for f in fields(needs) if getattr(mixer.abilities, f.name)]
        raise ValueError(
            f"{type(mixer).__name__} cannot be {', '.join(missing)} "
            f"(it can be {', '.join(able) or 'nothing of the kind'}); choose another mixer for this tower."
        )
