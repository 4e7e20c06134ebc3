"""Two traces are compared value by value: what is equal is called so, and nothing else is."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.analysis.metrics import EPOCH, STEP, MetricsTable, Row
from triptych.analysis.traces import compare_traces, relative_difference

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def table(**columns: list[float]) -> MetricsTable:
    """Steps from 1 on; `train__loss` stands for `train/loss`."""
    rows: list[Row] = []
    for place in range(max(map(len, columns.values()))):
        row: Row = {STEP: place + 1, EPOCH: 0.5}
        rows.append(row | {name.replace("__", "/"): values[place] for name, values in columns.items()})
    return MetricsTable(rows)


def bits(value: float) -> bytes:
    return b"nan" if math.isnan(value) else struct.pack("<d", value)


@given(NUMBERS, NUMBERS)
def test_the_relative_difference_is_symmetric_and_0_for_equal_numbers_alone(first: float, second: float) -> None:
    gap = relative_difference(first, second)
    assert gap == relative_difference(second, first)
    assert (gap == 0) == (first == second or (math.isnan(first) and math.isnan(second)))
    assert 0 <= gap <= 2 or (gap == math.inf and not (math.isfinite(first) and math.isfinite(second)))


@given(FINITE.filter(lambda value: abs(value) > 1e-300), st.floats(1e-6, 0.5))
def test_the_relative_difference_is_that_to_the_larger(value: float, share: float) -> None:
    assert relative_difference(value, value * (1 - share)) == pytest.approx(share, rel=1e-6)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20), st.sampled_from([0.0, 1e-5, 0.3]))
def test_a_column_parts_at_the_first_value_that_is_further_apart_than_tolerated(
    pairs: list[tuple[float, float]], tolerance: float
) -> None:
    first, second = (table(train__loss=[pair[side] for pair in pairs]) for side in (0, 1))
    found = compare_traces(first, second, tolerance)
    apart = [
        step
        for step, (left, right) in enumerate(pairs, start=1)
        if (bits(left) != bits(right) if tolerance == 0 else relative_difference(left, right) > tolerance)
    ]
    column = found.columns[0]
    assert column.name == "train/loss"
    assert found.equal == (not apart)
    assert found.bit_equal == all(bits(left) == bits(right) for left, right in pairs)
    assert (column.parting.step if column.parting else None) == (apart[0] if apart else None)
    assert column.apart == len(apart)
    most = max(relative_difference(left, right) for left, right in pairs)
    assert (column.largest.relative if column.largest else 0.0) == most


@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_a_trace_equals_itself_to_the_last_bit(values: list[float]) -> None:
    found = compare_traces(table(train__loss=values), table(train__loss=list(values)))
    assert found.bit_equal
    assert found.equal
    assert found.parting is None
    assert found.largest is None


def test_zeros_of_both_signs_differ_in_a_bit_and_lie_no_distance_apart() -> None:
    first, second = table(train__loss=[0.0]), table(train__loss=[-0.0])
    assert not compare_traces(first, second).equal
    assert compare_traces(first, second, 1e-12).equal
    assert not compare_traces(first, second, 1e-12).bit_equal


def test_steps_columns_and_values_of_one_run_alone_are_listed_and_not_compared() -> None:
    first = MetricsTable([{STEP: step, EPOCH: 0.0, "grad_norm": 1.0, "train/loss": 2.0} for step in (1, 2, 3)])
    rows: list[Row] = [{STEP: step, EPOCH: 0.0, "train/loss": 2.0, "val/loss": 1.0} for step in (2, 3, 4)]
    del rows[0]["train/loss"]
    found = compare_traces(first, MetricsTable(rows))
    assert found.shared == [2, 3]
    assert found.only == ([1], [4])
    assert found.columns_only == (["grad_norm"], ["val/loss"])
    assert [(column.name, column.steps, column.unmatched) for column in found.columns] == [
        ("train/loss", [3], (1, 0)),
        (EPOCH, [2, 3], (0, 0)),
    ]
    assert found.bit_equal


def test_the_loss_the_norm_and_the_rate_come_first_and_the_earliest_parting_is_told() -> None:
    first = table(val__loss=[1.0, 1.0], lr=[1.0, 1.0], grad_norm=[1.0, 1.0], train__loss=[1.0, 1.0])
    second = table(val__loss=[1.0, 9.0], lr=[1.0, 1.0], grad_norm=[1.001, 1.0], train__loss=[1.0, 1.1])
    found = compare_traces(first, second)
    assert [column.name for column in found.columns] == ["train/loss", "grad_norm", "lr", "val/loss", EPOCH]
    assert found.parting is not None
    assert found.largest is not None
    assert (found.parting[0], found.parting[1].step) == ("grad_norm", 1)
    assert (found.largest[0], found.largest[1].step) == ("val/loss", 2)
