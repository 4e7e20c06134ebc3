"""Metrics in batches equal metrics at once, and mean what they say."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from triptych.losses import binary_cross_entropy, softmax_cross_entropy
from triptych.objectives.metrics import ClassificationMetrics, MultiLabelMetrics, SingleLabelMetrics

CLASSES = 7


def fill(metrics: ClassificationMetrics, logits: Tensor, labels: Tensor, size: int) -> dict[str, float]:
    loss = binary_cross_entropy if isinstance(metrics, MultiLabelMetrics) else softmax_cross_entropy
    for some, theirs in zip(logits.split(size), labels.split(size), strict=True):
        metrics.update(some, theirs, loss(some, theirs))
    return {name: value.item() for name, value in metrics.compute().items()}


@settings(max_examples=15, deadline=None)
@given(count=st.integers(2, 25), size=st.integers(1, 25), multi=st.booleans())
def test_batches_of_any_size_count_alike(count: int, size: int, multi: bool) -> None:
    generator = torch.Generator().manual_seed(count)
    logits = torch.randn(count, CLASSES, generator=generator)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    if multi:
        labels = (torch.rand(count, CLASSES, generator=generator) > 0.5).float()
        labels[0], labels[1] = 1.0, 0.0  # each class occurs
    make = MultiLabelMetrics if multi else SingleLabelMetrics
    assert fill(make(CLASSES), logits, labels, size) == pytest.approx(fill(make(CLASSES), logits, labels, count))


def test_single_label_numbers_by_hand() -> None:
    # Class 0: 3 of 4 right; class 1: 0 of 1; the others do not occur, though class 2 is predicted.
    predicted = torch.tensor([0, 0, 0, 2, 2])
    labels = torch.tensor([0, 0, 0, 0, 1])
    metrics = SingleLabelMetrics(CLASSES)
    values = fill(metrics, torch.eye(CLASSES)[predicted] + torch.linspace(0.1, 0.0, CLASSES), labels, 2)
    assert values["accuracy"] == pytest.approx(3 / 5)
    assert values["mean_class_accuracy"] == pytest.approx((3 / 4 + 0) / 2)
    assert values["accuracy_top5"] == 1.0
    confusion = metrics.confusion()
    assert confusion is not None
    assert confusion[0, 0] == 3
    assert confusion[0, 2] == confusion[1, 2] == 1
    assert confusion.sum() == 5


def test_soft_labels_count_as_their_most_probable_class() -> None:
    logits = torch.eye(CLASSES)
    values = fill(SingleLabelMetrics(CLASSES), logits, torch.eye(CLASSES) * 0.9 + 0.01, 3)
    assert values["accuracy"] == 1.0


def test_multi_label_numbers_by_hand() -> None:
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    values = fill(MultiLabelMetrics(2), 10 * (labels - 0.5), labels, 2)
    assert values["mean_average_precision"] == values["f1"] == 1.0
    wrong = fill(MultiLabelMetrics(2), -10 * (labels - 0.5), labels, 2)
    assert wrong["f1"] == 0.0


def test_reset_forgets_and_few_or_many_classes_leave_out_what_makes_no_sense() -> None:
    metrics = SingleLabelMetrics(3)
    fill(metrics, torch.eye(3), torch.tensor([1, 1, 1]), 3)
    metrics.reset()
    values = fill(metrics, torch.eye(3), torch.arange(3), 3)
    assert values["accuracy"] == 1.0
    assert "accuracy_top5" not in values
    many = SingleLabelMetrics(1001)
    fill(many, torch.eye(1001)[:2], torch.arange(2), 2)
    assert many.confusion() is None
