"""Each metric over counted samples equals the metric over the samples written out, and torchmetrics on whole sets."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import (
    binary_average_precision,
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_f1_score,
    multilabel_average_precision,
    multilabel_f1_score,
)

from triptych.analysis import statistics
from triptych.analysis.bootstrap import Statistic
from triptych.analysis.calibration import bin_of

Draw = np.random.Generator


def single(draw: Draw, samples: int, classes: int) -> dict[str, np.ndarray]:
    logits = draw.normal(size=(samples, classes)).astype(np.float32)
    probabilities = torch.from_numpy(logits).softmax(1).numpy()
    labels, predicted = draw.integers(classes, size=samples), logits.argmax(1)
    return {
        "labels": labels,
        "predicted": predicted,
        "right": labels == predicted,
        "probabilities": probabilities,
        "confidence": probabilities.max(1),
        "scores": np.round(probabilities, 1),  # with ties
        "true": draw.random((samples, classes)) < 0.4,
    }


STATISTICS: dict[str, Callable[[dict[str, np.ndarray], int], Statistic]] = {
    "mean": lambda each, classes: statistics.mean_of(each["right"]),
    "mean class accuracy": lambda each, classes: statistics.mean_class_accuracy(each["labels"], each["predicted"]),
    "macro F1": lambda each, classes: statistics.macro_f1(each["labels"], each["predicted"], classes),
    "calibration": lambda each, classes: statistics.calibration_error(
        each["confidence"], each["right"], bin_of(each["confidence"], 5)
    ),
    "micro F1 of labels": lambda each, classes: statistics.micro_f1(each["scores"] >= 0.5, each["true"]),
    "macro F1 of labels": lambda each, classes: statistics.macro_f1_of_labels(each["scores"] >= 0.5, each["true"]),
    "mean average precision": lambda each, classes: statistics.mean_average_precision(each["scores"], each["true"]),
}


@pytest.mark.parametrize("name", STATISTICS)
@given(samples=st.integers(1, 25), classes=st.integers(2, 6), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_counting_a_sample_is_repeating_it(name: str, samples: int, classes: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    each = single(draw, samples, classes)
    counts = draw.multinomial(samples, np.full(samples, 1 / samples), size=3).astype(np.float64)
    found = STATISTICS[name](each, classes)(counts)
    for row, times in zip(found, counts.astype(int), strict=True):
        written_out = {key: np.repeat(values, times, axis=0) for key, values in each.items()}
        expected = STATISTICS[name](written_out, classes)(np.ones((1, samples)))[0]
        assert row == pytest.approx(expected, nan_ok=True)


@given(samples=st.integers(5, 60), classes=st.integers(2, 5), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_agrees_with_torchmetrics(samples: int, classes: int, seed: int) -> None:
    each = single(np.random.default_rng(seed), samples, classes)
    each["labels"][:classes] = np.arange(classes)  # what torchmetrics does with classes that do not occur differs
    each["right"] = each["labels"] == each["predicted"]
    predicted, labels = torch.from_numpy(each["predicted"]), torch.from_numpy(each["labels"])
    probabilities = torch.from_numpy(each["probabilities"])
    whole = np.ones((1, samples))
    ours = {name: float(make(each, classes)(whole)[0]) for name, make in STATISTICS.items()}
    peers = {
        "mean": multiclass_accuracy(predicted, labels, classes, average="micro"),
        "mean class accuracy": multiclass_accuracy(predicted, labels, classes, average="macro"),
        "macro F1": multiclass_f1_score(predicted, labels, classes, average="macro"),
        "calibration": multiclass_calibration_error(probabilities, labels, classes, n_bins=5),
    }
    assert {name: ours[name] for name in peers} == pytest.approx({k: float(v) for k, v in peers.items()}, abs=1e-5)


@given(samples=st.integers(3, 60), classes=st.integers(2, 5), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_several_labels_agree_with_torchmetrics(samples: int, classes: int, seed: int) -> None:
    each = single(np.random.default_rng(seed), samples, classes)
    each["true"][0] = True
    scores, true = torch.from_numpy(each["scores"]), torch.from_numpy(each["true"]).long()
    whole = np.ones((1, samples))
    ours = {name: float(STATISTICS[name](each, classes)(whole)[0]) for name in list(STATISTICS)[-3:]}
    said = (scores >= 0.5).float()  # torchmetrics takes what is above the threshold, not what is at it
    peers = {
        "micro F1 of labels": multilabel_f1_score(said, true, classes, average="micro"),
        "macro F1 of labels": multilabel_f1_score(said, true, classes, average="macro"),
        "mean average precision": multilabel_average_precision(scores, true, classes, average="macro"),
    }
    assert ours == pytest.approx({name: float(value) for name, value in peers.items()}, abs=1e-5)


def test_average_precision_of_ties_and_of_nothing() -> None:
    scores, true = np.array([0.5, 0.5, 0.5, 0.1]), np.array([True, False, False, True])
    found = statistics.average_precision(scores, true)(np.ones((1, 4)))[0]
    assert found == pytest.approx(
        float(binary_average_precision(torch.from_numpy(scores), torch.from_numpy(true).long()))
    )
    assert np.isnan(statistics.average_precision(scores, np.zeros(4, bool))(np.ones((1, 4)))[0])
