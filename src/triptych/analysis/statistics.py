"""Metrics as functions of how often each sample counts, vectorised over resamples: what a bootstrap needs.

Each function takes what is known of the samples once and gives a `Statistic`. Sums run along rows in NumPy's own
order, so that the values do not depend on threads or on how many resamples are computed at a time.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from triptych.analysis.bootstrap import Statistic

Counts = Float[np.ndarray, "resamples samples"]


def mean_of(values: Float[np.ndarray, " samples"] | Bool[np.ndarray, " samples"]) -> Statistic:
    """The mean of a number that each sample has: its loss, or whether it was right."""
    numbers = values.astype(np.float64)
    return lambda counts: (counts * numbers).sum(axis=1) / counts.sum(axis=1)


def mean_class_accuracy(labels: Int[np.ndarray, " samples"], predicted: Int[np.ndarray, " samples"]) -> Statistic:
    """The mean recall of the classes that occur (balanced accuracy)."""
    by_label = _Groups(labels)
    right = (labels == predicted).astype(np.float64)

    def statistic(counts: Counts) -> Float[np.ndarray, " resamples"]:
        support = by_label.sums(counts)
        return _mean_where(_share(by_label.sums(counts * right), support), support > 0)

    return statistic


def macro_f1(
    labels: Int[np.ndarray, " samples"], predicted: Int[np.ndarray, " samples"], num_classes: int
) -> Statistic:
    """The mean F1 of the classes that occur as a label or as a prediction."""
    by_label, by_prediction = _Groups(labels), _Groups(predicted)
    right = (labels == predicted).astype(np.float64)

    def statistic(counts: Counts) -> Float[np.ndarray, " resamples"]:
        shape = (len(counts), num_classes)
        hits, actual, said = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        hits[:, by_label.names] = by_label.sums(counts * right)
        actual[:, by_label.names] = by_label.sums(counts)
        said[:, by_prediction.names] = by_prediction.sums(counts)
        return _mean_where(_share(2 * hits, actual + said), actual + said > 0)

    return statistic


def calibration_error(
    confidence: Float[np.ndarray, " samples"], right: Bool[np.ndarray, " samples"], bin_of: Int[np.ndarray, " samples"]
) -> Statistic:
    """The expected calibration error, for bins of `triptych.analysis.calibration.bin_of`."""
    by_bin = _Groups(bin_of)
    surplus = right - confidence.astype(np.float64)
    return lambda counts: np.abs(by_bin.sums(counts * surplus)).sum(axis=1) / counts.sum(axis=1)


def micro_f1(said: Bool[np.ndarray, "samples classes"], true: Bool[np.ndarray, "samples classes"]) -> Statistic:
    """The F1 of all decisions of all classes together."""
    hits, both = (said & true).sum(axis=1).astype(np.float64), (said.sum(axis=1) + true.sum(axis=1)).astype(np.float64)

    def statistic(counts: Counts) -> Float[np.ndarray, " resamples"]:
        return _share(2 * (counts * hits).sum(axis=1), (counts * both).sum(axis=1))

    return statistic


def macro_f1_of_labels(
    said: Bool[np.ndarray, "samples classes"], true: Bool[np.ndarray, "samples classes"]
) -> Statistic:
    """The mean F1 of the classes that occur as a label or as a prediction, where samples have several labels."""
    hits, both = (said & true).astype(np.float64), said.astype(np.float64) + true

    def statistic(counts: Counts) -> Float[np.ndarray, " resamples"]:
        columns = range(said.shape[1])
        twice = np.stack([2 * (counts * hits[:, place]).sum(axis=1) for place in columns], axis=1)
        total = np.stack([(counts * both[:, place]).sum(axis=1) for place in columns], axis=1)
        return _mean_where(_share(twice, total), total > 0)

    return statistic


def mean_average_precision(
    scores: Float[np.ndarray, "samples classes"], true: Bool[np.ndarray, "samples classes"]
) -> Statistic:
    """The mean average precision of the classes that occur."""
    of_class = [average_precision(scores[:, place], true[:, place]) for place in range(scores.shape[1])]

    def statistic(counts: Counts) -> Float[np.ndarray, " resamples"]:
        values = np.stack([each(counts) for each in of_class], axis=1)
        return _mean_where(np.nan_to_num(values), ~np.isnan(values))

    return statistic


def average_precision(scores: Float[np.ndarray, " samples"], true: Bool[np.ndarray, " samples"]) -> Statistic:
    """The area below the steps of precision over recall, samples of equal score taken together; nan without a
    positive one.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, positive = scores[order], true[order].astype(np.float64)
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)

    def statistic(counts: Counts) -> Float[np.ndarray, " resamples"]:
        taken = counts[:, order]
        found = np.cumsum(taken * positive, axis=1)[:, ends]
        precision = _share(found, np.cumsum(taken, axis=1)[:, ends])
        gained = np.diff(found, axis=1, prepend=0.0)
        total = found[:, -1]
        return np.where(total > 0, _share((precision * gained).sum(axis=1), total), np.nan)

    return statistic


class _Groups:
    """Sums of the columns that belong to the same group; `names` are the groups that occur, in order."""

    def __init__(self, of_sample: Int[np.ndarray, " samples"]) -> None:
        self._order = np.argsort(of_sample, kind="stable")
        self.names, self._starts = np.unique(of_sample[self._order], return_index=True)

    def sums(self, numbers: Counts) -> Float[np.ndarray, "resamples groups"]:
        return np.add.reduceat(numbers[:, self._order], self._starts, axis=1)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part / whole`, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _mean_where(values: np.ndarray, occurs: np.ndarray) -> Float[np.ndarray, " resamples"]:
    """The mean of each row over the columns that occur; nan where none does."""
    count = occurs.sum(axis=1)
    total = np.where(occurs, values, 0.0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
