"""What is trained for."""

from dataclasses import dataclass, field
from typing import Any

from triptych.schema.option import Range, option
from triptych.schema.run import Part


@dataclass
class SoftmaxCrossEntropy(Part):
    """Cross-entropy over classes, of which each sample has one."""

    _target_: str = "triptych.losses.softmax_cross_entropy"
    _partial_: bool = True
    label_smoothing: float = option(
        "share of each target spread over all classes", default=0.0, range=Range(least=0, below=1)
    )


@dataclass
class BinaryCrossEntropy(Part):
    """Cross-entropy of each class by itself, for samples with several classes."""

    _target_: str = "triptych.losses.binary_cross_entropy"
    _partial_: bool = True
    label_smoothing: float = option(
        "share of each target moved towards one half", default=0.0, range=Range(least=0, below=1)
    )


@dataclass
class BatchMix(Part):
    """Mixup and cutmix of a batch."""

    _target_: str = "triptych.objectives.mixing.BatchMix"
    mixup: float = option("alpha of mixup's Beta distribution; 0 for no mixup", default=0.0, range=Range(least=0))
    cutmix: float = option("alpha of cutmix's Beta distribution; 0 for no cutmix", default=0.0, range=Range(least=0))
    probability: float = option("share of the batches that is mixed", default=1.0, range=Range(least=0, most=1))
    seed: int = option("seed of the draws", default="${seed}", range=Range(least=0))


@dataclass
class Classification(Part):
    """Classification of images."""

    _target_: str = "triptych.objectives.classification.ClassificationObjective"
    _partial_: bool = True
    loss: Part = field(default_factory=Part)
    mix: Part | None = option("mixup and cutmix; null for none", default=None)
    multi_label: bool = option("samples have several labels", default=False)
    clip: float | None = option(
        "largest global norm of the gradients; null for no clipping", default=None, range=Range(above=0)
    )


PLACES: dict[str, tuple[type[Any], ...]] = {
    "objective": (Classification,),
    "objective.loss": (SoftmaxCrossEntropy, BinaryCrossEntropy),
    "objective.mix": (BatchMix,),
}
