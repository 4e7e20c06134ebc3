"""One row of numbers for each class."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from triptych.analysis.statistics import average_precision


@dataclass(frozen=True)
class ClassScore:
    """How well one class was told from the others; None where a share has nothing to be a share of.

    Args:
        name: of the class.
        support: samples that have it.
        predicted: samples that were said to have it.
        precision: share of `predicted` that was right.
        recall: share of `support` that was found.
        f1: harmonic mean of both.
        average_precision: of the class's probability as a ranking, where samples have several labels.
    """

    name: str
    support: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None = None


def per_class(
    labels: Int[np.ndarray, " samples"], predicted: Int[np.ndarray, " samples"], classes: list[str]
) -> list[ClassScore]:
    """One row a class, in their order; each sample has one class."""
    number = len(classes)
    support = np.bincount(labels, minlength=number).tolist()
    said = np.bincount(predicted, minlength=number).tolist()
    hits = np.bincount(labels[labels == predicted], minlength=number).tolist()
    return [_score(*row) for row in zip(classes, support, said, hits, strict=True)]


def per_class_of_confusion(confusion: Int[np.ndarray, "classes classes"], classes: list[str]) -> list[ClassScore]:
    """One row a class, in their order, from counts by true class (rows) and predicted class (columns)."""
    counts = (confusion.sum(1).tolist(), confusion.sum(0).tolist(), confusion.diagonal().tolist())
    return [_score(*row) for row in zip(classes, *counts, strict=True)]


def per_class_of_labels(
    probabilities: Float[np.ndarray, "samples classes"],
    true: Bool[np.ndarray, "samples classes"],
    threshold: float,
    classes: list[str],
) -> list[ClassScore]:
    """One row a class, in their order; a sample has each class whose probability is at least `threshold`."""
    said = probabilities >= threshold
    whole = np.ones((1, len(true)))
    rows = []
    for place, name in enumerate(classes):
        has, told = true[:, place], said[:, place]
        average = float(average_precision(probabilities[:, place], has)(whole)[0]) if has.any() else None
        rows.append(_score(name, int(has.sum()), int(told.sum()), int((told & has).sum()), average))
    return rows


def _score(name: str, support: int, said: int, hits: int, average: float | None = None) -> ClassScore:
    return ClassScore(
        name, support, said, _share(hits, said), _share(hits, support), _share(2 * hits, support + said), average
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
