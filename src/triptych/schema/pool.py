"""How a tower makes one embedding of its tokens."""

from dataclasses import dataclass, field
from typing import Any

from triptych.schema.option import Range, option
from triptych.schema.run import Part


@dataclass
class ClassTokenPool(Part):
    """The embedding is the class token."""

    _target_: str = "triptych.nn.pool.ClassTokenPool"
    _partial_: bool = True
    norm_after: bool = option("normalise the pooled token instead of all tokens", default=False)


@dataclass
class MeanPool(Part):
    """The embedding is the mean over real patch tokens."""

    _target_: str = "triptych.nn.pool.MeanPool"
    _partial_: bool = True
    norm_after: bool = option("normalise the mean instead of all tokens", default=True)
    class_token: bool = option("have a class token although the mean leaves it out", default=False)


@dataclass
class ClassMeanPool(Part):
    """The embedding is the class token and the mean over patch tokens side by side (DINOv2's classifiers)."""

    _target_: str = "triptych.nn.pool.ClassMeanPool"
    _partial_: bool = True


@dataclass
class DistilledPool(Part):
    """The embedding is the class token and the first register side by side, for model.head=distilled (DeiT)."""

    _target_: str = "triptych.nn.pool.DistilledPool"
    _partial_: bool = True


@dataclass
class AttentionPool(Part):
    """The embedding is what a learned query reads from all tokens (SigLIP)."""

    _target_: str = "triptych.nn.pool.AttentionPool"
    _partial_: bool = True
    heads: int = option("attention heads; must divide `dim`", default=8, range=Range(least=1))
    feedforward: Part = field(default_factory=Part)
    norm_after: bool = option("normalise the embedding instead of all tokens", default=False)


@dataclass
class LastTokenPool(Part):
    """The embedding is the last real token, such as the end token of a text (CLIP)."""

    _target_: str = "triptych.nn.pool.LastTokenPool"
    _partial_: bool = True
    norm_after: bool = option("normalise the pooled token instead of all tokens", default=False)


@dataclass
class PrefixMeanPool(Part):
    """The embedding is the mean of the class token and the first register (AST)."""

    _target_: str = "triptych.nn.pool.PrefixMeanPool"
    _partial_: bool = True


POOLS: tuple[type[Any], ...] = (
    ClassTokenPool, MeanPool, ClassMeanPool, DistilledPool, AttentionPool, LastTokenPool, PrefixMeanPool,
)  # fmt: skip
