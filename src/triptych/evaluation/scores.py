"""The numbers of one evaluated set: metrics with their intervals, rows of classes, confusion, calibration."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch.nn import functional

from triptych.analysis import statistics
from triptych.analysis.bootstrap import Estimate, Statistic, bootstrap
from triptych.analysis.calibration import Calibration, bin_of, calibration
from triptych.analysis.per_class import ClassScore, per_class, per_class_of_labels
from triptych.analysis.results import ClassificationResults
from triptych.evaluation.inference import Said

LOWER_IS_BETTER = frozenset({"log_loss", "calibration_error"})
NOT_SHARES = frozenset({"log_loss"})


@dataclass(frozen=True)
class Rules:
    """How to measure: draws and seed of the bootstrap, bins of the calibration error, threshold of several labels."""

    resamples: int = 1000
    seed: int = 0
    bins: int = 15
    threshold: float = 0.5


class SetScores:
    """What was said of one set, measured.

    Args:
        said: logits and labels of its samples.
        classes: names of the classes.
        multi_label: samples have several labels.
        rules: how to measure.
    """

    def __init__(self, said: Said, classes: list[str], multi_label: bool, rules: Rules) -> None:
        self.said, self.classes, self.multi_label, self.rules = said, classes, multi_label, rules
        # In double precision: the worst mistakes have probabilities that float32 rounds to 0.
        logits = torch.from_numpy(said.logits).double()
        self.probabilities: Float[np.ndarray, "samples classes"]
        if multi_label:
            self.true: Bool[np.ndarray, "samples classes"] = said.labels >= 0.5
            self.probabilities = logits.sigmoid().numpy()
            signed = torch.where(torch.from_numpy(self.true), logits, -logits)
            self.losses = -functional.logsigmoid(signed).mean(dim=1).numpy()
            return
        logs = logits.log_softmax(dim=1)
        self.probabilities = logs.exp().numpy()
        self.predicted = said.logits.argmax(axis=1)
        rows = np.arange(len(logits))
        self.confidence = self.probabilities[rows, self.predicted]
        self.losses = -logs.numpy()[rows, said.labels]
        self.right = self.predicted == said.labels

    @property
    def samples(self) -> int:
        """How many were measured."""
        return len(self.said.indices)

    @cached_property
    def ranks(self) -> Int[np.ndarray, " samples"]:
        """Where the label stands among the classes, from 1. Of equal logits the first class is first, as it is the one
        that is predicted: classes that a model cannot tell apart are not all counted as found.
        """
        logits, labels = self.said.logits, self.said.labels[:, None]
        own = np.take_along_axis(logits, labels, axis=1)
        before = (logits == own) & (np.arange(logits.shape[1]) < labels)
        return ((logits > own) | before).sum(axis=1) + 1

    @cached_property
    def metrics(self) -> dict[str, Estimate]:
        """The metrics by name, each with its interval."""
        found = self._of_labels() if self.multi_label else self._of_one_label()
        return bootstrap(found, self.samples, self.rules.resamples, self.rules.seed)

    @cached_property
    def per_class(self) -> list[ClassScore]:
        """One row a class."""
        if self.multi_label:
            return per_class_of_labels(self.probabilities, self.true, self.rules.threshold, self.classes)
        return per_class(self.said.labels, self.predicted, self.classes)

    @cached_property
    def calibration(self) -> Calibration | None:
        """The calibration of the predicted class; None where samples have several labels."""
        return None if self.multi_label else calibration(self.confidence, self.right, self.rules.bins)

    @property
    def absent(self) -> list[str]:
        """Classes of the model that no sample has."""
        return [row.name for row in self.per_class if row.support == 0]

    @cached_property
    def results(self) -> ClassificationResults:
        """The same for the pictures."""
        confusion = None
        if not self.multi_label:
            number = len(self.classes)
            places = self.said.labels * number + self.predicted
            confusion = torch.from_numpy(np.bincount(places, minlength=number**2).reshape(number, number))
        return ClassificationResults(
            torch.from_numpy(self.said.logits),
            torch.from_numpy(self.said.labels),
            torch.from_numpy(self.said.indices),
            confusion,
            self.classes,
            self.multi_label,
            self.rules.threshold,
        )

    def _of_one_label(self) -> dict[str, Statistic]:
        labels, number = self.said.labels, len(self.classes)
        found = {"accuracy": statistics.mean_of(self.right)}
        if number > 5:
            found["accuracy_top5"] = statistics.mean_of(self.ranks <= 5)
        return found | {
            "mean_class_accuracy": statistics.mean_class_accuracy(labels, self.predicted),
            "macro_f1": statistics.macro_f1(labels, self.predicted, number),
            "log_loss": statistics.mean_of(self.losses),
            "calibration_error": statistics.calibration_error(
                self.confidence, self.right, bin_of(self.confidence, self.rules.bins)
            ),
        }

    def _of_labels(self) -> dict[str, Statistic]:
        said = self.probabilities >= self.rules.threshold
        return {
            "mean_average_precision": statistics.mean_average_precision(self.probabilities, self.true),
            "micro_f1": statistics.micro_f1(said, self.true),
            "macro_f1": statistics.macro_f1_of_labels(said, self.true),
            "exact_match": statistics.mean_of((said == self.true).all(axis=1)),
            "log_loss": statistics.mean_of(self.losses),
        }
