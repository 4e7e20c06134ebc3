"""What a classifier said of a validation set: the input of all pictures about it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

ImageOf = Callable[[int], UInt8[Tensor, "channels height width"]]


@dataclass(frozen=True)
class ClassificationResults:
    """Predictions for the first samples of a validation set, and the confusion of all of it.

    Args:
        logits: one row per sample.
        labels: class numbers (samples,), or rows of targets (samples, classes): several labels, or soft ones.
        indices: numbers of the samples in their data set.
        confusion: counts by true class (rows) and predicted class (columns); None where there is no such table.
        classes: names of the classes.
        multi_label: several labels may be right for a sample; each class is then decided by itself.
        threshold: the probability from which a class counts as said, where there are several labels.
    """

    logits: Float[Tensor, "samples classes"]
    labels: Tensor
    indices: Int[Tensor, " samples"]
    confusion: Int[Tensor, "classes classes"] | None
    classes: list[str]
    multi_label: bool = False
    threshold: float = 0.5

    def predictions(self) -> list["Prediction"]:
        """All samples, in their order."""
        if self.multi_label:
            return self._multi_label()
        targets = self.labels.argmax(dim=-1) if self.labels.is_floating_point() else self.labels
        # In logarithms and double precision: the worst mistakes have probabilities that float32 rounds to 0.
        logs = self.logits.double().log_softmax(dim=-1)
        predicted = self.logits.argmax(dim=-1)
        confidence = logs.gather(1, predicted[:, None]).squeeze(1).exp()
        losses = -logs.gather(1, targets[:, None]).squeeze(1)
        rows = zip(
            self.indices.tolist(),
            targets.tolist(),
            predicted.tolist(),
            confidence.tolist(),
            losses.tolist(),
            strict=True,
        )
        return [
            Prediction(index, self.classes[true], self.classes[said], sure, true == said, loss)
            for index, true, said, sure, loss in rows
        ]

    def _multi_label(self) -> list["Prediction"]:
        logits = self.logits.double()
        probabilities = logits.sigmoid()
        said, true = probabilities >= self.threshold, self.labels > 0.5
        # The surest thing said of a sample, be it that a label is there or that it is not.
        confidence = torch.where(said, probabilities, 1 - probabilities).amin(dim=-1)
        losses = functional.softplus(torch.where(true, -logits, logits)).mean(dim=-1)
        return [
            Prediction(
                int(index), self._names(true[row]), self._names(said[row]), float(confidence[row]),
                bool((said[row] == true[row]).all()), float(losses[row]),
            )
            for row, index in enumerate(self.indices)
        ]  # fmt: skip

    def _names(self, chosen: Tensor) -> str:
        return ", ".join(self.classes[place] for place in chosen.nonzero().flatten().tolist()) or "none"


@dataclass(frozen=True)
class Prediction:
    """What was said of one sample: the true and the predicted name, how sure (0 to 1), and the loss (nats)."""

    index: int
    true: str
    predicted: str
    confidence: float
    right: bool
    loss: float


@dataclass(frozen=True)
class Confused:
    """How often samples of class `true` were taken for `predicted`, and which share of that class they are."""

    true: str
    predicted: str
    count: int
    share: float


def most_confused(results: ClassificationResults, most: int = 10) -> list[Confused]:
    """The wrong pairs that occur most often, most frequent first."""
    if results.confusion is None:
        return []
    counts = results.confusion.clone()
    totals = counts.sum(dim=1)
    counts.fill_diagonal_(0)
    found, places = counts.flatten().topk(min(most, counts.numel()))
    pairs = []
    for count, place in zip(found.tolist(), places.tolist(), strict=True):
        true, predicted = divmod(place, counts.shape[1])
        if count > 0:
            pairs.append(Confused(results.classes[true], results.classes[predicted], count, count / int(totals[true])))
    return pairs
