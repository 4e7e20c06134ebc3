"""What is trained for."""

from dataclasses import dataclass, field
from typing import Any

from triptych.schema.contrastive_training import (
    Contrastive,
    OwnRows,
    Ring,
    SigmoidContrastive,
    SoftmaxContrastive,
    WholeBatch,
)
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
    """Classification of images or sounds."""

    _target_: str = "triptych.objectives.classification.ClassificationObjective"
    _partial_: bool = True
    loss: Part = field(default_factory=Part)
    mix: Part | None = option("mixup and cutmix; null for none", default=None)
    mask: Part | None = option("parts of spectrograms that training does not see; null for none", default=None)
    multi_label: bool = option("samples have several labels", default=False)
    clip: float | None = option(
        "largest global norm of the gradients; null for no clipping", default=None, range=Range(above=0)
    )


@dataclass
class Teacher(Part):
    """A trained model to learn from beside the labels."""

    _target_: str = "triptych.objectives.teacher.Teacher"
    path: str = option("the model: a run directory, a checkpoint, or a folder or file in a supported format")
    weight: float = option("its share of the loss", default=0.5, range=Range(least=0, most=1))
    temperature: float = option("divides the logits of both models", default=1.0, range=Range(above=0))


@dataclass
class Distillation(Part):
    """Classification that also learns from another model's logits."""

    _target_: str = "triptych.objectives.distillation.DistillationObjective"
    _partial_: bool = True
    teacher: Teacher = field(default_factory=Teacher)
    loss: Part = field(default_factory=Part)
    mix: Part | None = option("mixup and cutmix, or of clips; null for none", default=None)
    mask: Part | None = option("what of spectrograms the student does not see; null for none", default=None)
    multi_label: bool = option("samples have several labels", default=False)
    clip: float | None = option(
        "largest global norm of the gradients; null for no clipping", default=None, range=Range(above=0)
    )


PLACES: dict[str, tuple[type[Any], ...]] = {
    "objective": (Classification, Distillation, Contrastive),
    "objective.exchange": (OwnRows, WholeBatch, Ring),
    "objective.teacher": (Teacher,),
    "objective.loss": (SoftmaxCrossEntropy, BinaryCrossEntropy, SoftmaxContrastive, SigmoidContrastive),
    "objective.mix": (BatchMix,),
}
