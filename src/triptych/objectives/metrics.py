"""Counts of a validation set: what torchmetrics gathers over batches and ranks, and the numbers they come to."""

from abc import ABC, abstractmethod
from typing import cast

from jaxtyping import Float, Int
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassStatScores,
    MultilabelAveragePrecision,
    MultilabelF1Score,
)

# A confusion matrix of more classes is neither readable nor small (1,000 classes: 8 MB).
MOST_CONFUSION_CLASSES = 1000


class ClassificationMetrics(nn.Module, ABC):
    """Metrics of one validation set. A batch counts by its samples, so a short last one weighs what it is worth."""

    monitor: str  # the metric that tells the best checkpoint; higher is better
    names: tuple[str, ...]  # of all metrics that `compute` gives

    def __init__(self) -> None:
        super().__init__()
        self.loss = MeanMetric()

    @abstractmethod
    def update(self, logits: Float[Tensor, "batch classes"], labels: Tensor, loss: Float[Tensor, ""]) -> None:
        """Adds a batch, with the mean loss of its samples."""

    @abstractmethod
    def compute(self) -> dict[str, Tensor]:
        """The metrics over all batches and ranks, by name."""

    def confusion(self) -> Int[Tensor, "classes classes"] | None:
        """Samples by true class (rows) and predicted class (columns), where there is such a table."""
        return None

    def reset(self) -> None:
        """Forgets all batches."""
        for metric in self.children():
            cast(Metric, metric).reset()


class SingleLabelMetrics(ClassificationMetrics):
    """`loss`, `accuracy`, `accuracy_top5` (above 5 classes) and `mean_class_accuracy`: the mean recall of the classes
    that occur.

    Labels are class numbers, or rows of class probabilities, which count as their most probable class.
    """

    monitor = "accuracy"

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.scores = MulticlassStatScores(num_classes, average=None, validate_args=False)
        self.top5 = (
            MulticlassAccuracy(num_classes, top_k=5, average="micro", validate_args=False) if num_classes > 5 else None
        )
        self.names = ("loss", "accuracy", "mean_class_accuracy", *(("accuracy_top5",) if num_classes > 5 else ()))
        small = num_classes <= MOST_CONFUSION_CLASSES
        self.matrix = MulticlassConfusionMatrix(num_classes, validate_args=False) if small else None

    def update(self, logits: Float[Tensor, "batch classes"], labels: Tensor, loss: Float[Tensor, ""]) -> None:
        """Adds a batch, with the mean loss of its samples."""
        if labels.is_floating_point():
            labels = labels.argmax(dim=-1)
        predicted = logits.argmax(dim=-1)
        self.loss.update(loss, weight=len(labels))
        self.scores.update(predicted, labels)
        if self.top5 is not None:
            self.top5.update(logits, labels)
        if self.matrix is not None:
            self.matrix.update(predicted, labels)

    def compute(self) -> dict[str, Tensor]:
        """The metrics over all batches and ranks, by name."""
        # Columns: true and false positives, true and false negatives, samples of the class.
        right, _, _, _, samples = self.scores.compute().unbind(dim=-1)
        occurs = samples > 0
        metrics = {
            "loss": self.loss.compute(),
            "accuracy": right.sum() / samples.sum(),
            "mean_class_accuracy": (right[occurs] / samples[occurs]).mean(),
        }
        if self.top5 is not None:
            metrics["accuracy_top5"] = self.top5.compute()
        return metrics

    def confusion(self) -> Int[Tensor, "classes classes"] | None:
        """Samples by true class (rows) and predicted class (columns); None above 1,000 classes."""
        return None if self.matrix is None else self.matrix.compute()


class MultiLabelMetrics(ClassificationMetrics):
    """`loss`, `mean_average_precision` and `f1` (at a probability of 0.5), both means over classes.

    Labels are rows of 0 and 1; one of at least 0.5 counts as 1. The average precision is exact, for which it keeps
    all logits.
    """

    monitor = "mean_average_precision"
    names = ("loss", "mean_average_precision", "f1")

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.precision = MultilabelAveragePrecision(num_classes, average="macro", validate_args=False)
        self.f1 = MultilabelF1Score(num_classes, average="macro", validate_args=False)

    def update(self, logits: Float[Tensor, "batch classes"], labels: Tensor, loss: Float[Tensor, ""]) -> None:
        """Adds a batch, with the mean loss of its samples."""
        probabilities = logits.float().sigmoid()
        present = (labels >= 0.5).long()
        self.loss.update(loss, weight=len(labels))
        self.precision.update(probabilities, present)
        self.f1.update(probabilities, present)

    def compute(self) -> dict[str, Tensor]:
        """The metrics over all batches and ranks, by name."""
        return {
            "loss": self.loss.compute(),
            "mean_average_precision": self.precision.compute(),
            "f1": self.f1.compute(),
        }
