"""Training of towers on what belongs together."""

from dataclasses import dataclass, field

from triptych.schema.option import Range, option
from triptych.schema.run import Part

_TILE = option(
    "samples of one modality compared at a time with all of the other; less takes less memory; null: all at once",
    default=1024,
    range=Range(least=1),
)


@dataclass
class SoftmaxContrastive(Part):
    """Cross-entropy of finding a sample's partner among all of the batch."""

    _target_: str = "triptych.losses.softmax_contrastive"
    _partial_: bool = True
    hardness: float = option(
        "weight of near negatives over far ones: exp(hardness * logit); 0 weighs all alike", default=0.0,
        range=Range(least=0),
    )  # fmt: skip
    positive_weight: float = option(
        "what positives count in the denominator; 0 leaves them out (decoupled)", default=1.0,
        range=Range(least=0, most=1),
    )  # fmt: skip
    tile: int | None = _TILE


@dataclass
class SigmoidContrastive(Part):
    """Cross-entropy of each pair by itself, whether it belongs together."""

    _target_: str = "triptych.losses.sigmoid_contrastive"
    _partial_: bool = True
    tile: int | None = _TILE


@dataclass
class OwnRows(Part):
    """Embeddings are gathered, and each process compares its own samples with all."""

    _target_: str = "triptych.parallel.exchange.OwnRows"


@dataclass
class WholeBatch(Part):
    """Embeddings are gathered, and each process compares all with all."""

    _target_: str = "triptych.parallel.exchange.WholeBatch"


@dataclass
class Ring(Part):
    """Embeddings visit each process in turn; for the sigmoid loss."""

    _target_: str = "triptych.parallel.exchange.Ring"


@dataclass
class Contrastive(Part):
    """Contrastive training of two or more towers."""

    _target_: str = "triptych.objectives.contrastive.ContrastiveObjective"
    _partial_: bool = True
    loss: Part = field(default_factory=Part)
    exchange: Part = field(default_factory=Part)
    clip: float | None = option(
        "largest global norm of the gradients; null for no clipping", default=None, range=Range(above=0)
    )
