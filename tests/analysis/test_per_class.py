"""The row of a class holds what counting gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.analysis.per_class import per_class, per_class_of_labels


@given(samples=st.integers(1, 40), number=st.integers(1, 6), seed=st.integers(0, 10**6))
@settings(deadline=None)
def test_rows_count_samples(samples: int, number: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    labels, predicted = draw.integers(number, size=samples), draw.integers(number, size=samples)
    rows = per_class(labels, predicted, [f"class {place}" for place in range(number)])
    assert sum(row.support for row in rows) == sum(row.predicted for row in rows) == samples
    for place, row in enumerate(rows):
        pairs = list(zip((labels == place).tolist(), (predicted == place).tolist(), strict=True))
        hits, missed, false = pairs.count((True, True)), pairs.count((True, False)), pairs.count((False, True))
        assert (row.name, row.support, row.predicted) == (f"class {place}", hits + missed, hits + false)
        assert row.precision == (pytest.approx(hits / (hits + false)) if hits + false else None)
        assert row.recall == (pytest.approx(hits / (hits + missed)) if hits + missed else None)
        assert row.f1 == (pytest.approx(2 * hits / (2 * hits + missed + false)) if hits + missed + false else None)


def test_several_labels_are_decided_at_the_threshold() -> None:
    probabilities = np.array([[0.9, 0.3], [0.4, 0.3], [0.2, 0.1]])
    true = np.array([[True, False], [True, False], [False, False]])
    first, second = per_class_of_labels(probabilities, true, 0.4, ["a", "b"])
    assert (first.support, first.predicted, first.precision, first.average_precision) == (2, 2, 1.0, 1.0)
    assert (second.support, second.predicted, second.recall, second.average_precision) == (0, 0, None, None)
    assert per_class_of_labels(probabilities, true, 0.5, ["a", "b"])[0].recall == 0.5
