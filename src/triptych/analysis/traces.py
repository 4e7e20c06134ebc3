"""Two runs' metrics beside each other: where they part, and how far apart they get."""

import math
import struct
from dataclasses import dataclass

from triptych.analysis.metrics import EPOCH, STEP, MetricsTable

_FIRST = ("train/loss", "grad_norm", "lr")


@dataclass(frozen=True)
class Gap:
    """Two values of one metric at one step, and how far apart they are, relative to the larger of both."""

    step: int
    first: float
    second: float
    relative: float


@dataclass(frozen=True)
class ColumnGaps:
    """One metric of two runs.

    Attributes:
        name: of the metric.
        steps: at which both runs logged it.
        relative: the relative difference at each of them, 0 to 2, infinite where only one value is finite.
        apart: how many of them differ by more than is tolerated.
        parting: the first of those, None where there is none.
        largest: the largest relative difference, tolerated or not; None where all values are equal to the last bit.
        unmatched: how many values at shared steps only the first run has, and only the second.
    """

    name: str
    steps: list[int]
    relative: list[float]
    apart: int
    parting: Gap | None
    largest: Gap | None
    unmatched: tuple[int, int]


@dataclass(frozen=True)
class TraceComparison:
    """What two runs logged, step by step.

    Attributes:
        columns: of the metrics that both have, the loss first.
        shared: steps that both logged.
        only: steps that only the first has, and only the second.
        columns_only: likewise metrics.
        tolerance: relative difference up to which values count as equal; 0: equal to the last bit.
    """

    columns: list[ColumnGaps]
    shared: list[int]
    only: tuple[list[int], list[int]]
    columns_only: tuple[list[str], list[str]]
    tolerance: float

    @property
    def equal(self) -> bool:
        """Whether no value at a shared step differs by more than is tolerated."""
        return all(column.parting is None for column in self.columns)

    @property
    def bit_equal(self) -> bool:
        """Whether all values at shared steps are equal to the last bit."""
        return all(column.largest is None for column in self.columns)

    @property
    def parting(self) -> tuple[str, Gap] | None:
        """The metric that parts first, and where."""
        found = [(column.name, column.parting) for column in self.columns if column.parting]
        return min(found, key=lambda pair: pair[1].step, default=None)

    @property
    def largest(self) -> tuple[str, Gap] | None:
        """The metric with the largest relative difference, and where."""
        found = [(column.name, column.largest) for column in self.columns if column.largest]
        return max(found, key=lambda pair: pair[1].relative, default=None)


def compare_traces(first: MetricsTable, second: MetricsTable, tolerance: float = 0.0) -> TraceComparison:
    """Every metric of two runs at the steps that both have; those that only one has are listed and not compared."""
    left, right = (set(table.series(STEP)[0]) for table in (first, second))
    names = [[name for name in table.columns if name not in (STEP, EPOCH)] for table in (first, second)]
    both = [name for name in names[0] if name in names[1]]
    ordered = [name for name in _FIRST if name in both] + [name for name in both if name not in _FIRST]
    return TraceComparison(
        columns=[_column(name, first, second, left & right, tolerance) for name in [*ordered, EPOCH]],
        shared=sorted(left & right),
        only=(sorted(left - right), sorted(right - left)),
        columns_only=(
            [name for name in names[0] if name not in both],
            [name for name in names[1] if name not in both],
        ),
        tolerance=tolerance,
    )


def relative_difference(first: float, second: float) -> float:
    """How far apart two numbers are, relative to the larger size of both: 0 (equal; NaN equals NaN) to 2 (opposite),
    infinite where only one is finite, or both are not and differ.
    """
    if first == second or (math.isnan(first) and math.isnan(second)):
        return 0.0
    if not (math.isfinite(first) and math.isfinite(second)):
        return math.inf
    larger = max(abs(first), abs(second))
    gap = abs(first - second)
    return gap / larger if math.isfinite(gap) else abs(first / larger - second / larger)


def _column(name: str, first: MetricsTable, second: MetricsTable, shared: set[int], tolerance: float) -> ColumnGaps:
    left, right = (
        {step: value for step, value in zip(*table.series(name), strict=True) if step in shared}
        for table in (first, second)
    )
    gaps = [
        Gap(step, left[step], right[step], relative_difference(left[step], right[step]))
        for step in left
        if step in right
    ]
    unequal = [gap for gap in gaps if not _same_bits(gap.first, gap.second)]
    # 0.0 and -0.0 are no distance apart, and yet not the same bits.
    apart = [gap for gap in unequal if gap.relative > tolerance or tolerance == 0]
    return ColumnGaps(
        name,
        [gap.step for gap in gaps],
        [gap.relative for gap in gaps],
        len(apart),
        apart[0] if apart else None,
        max(unequal, key=lambda gap: gap.relative, default=None),
        (len(left.keys() - right.keys()), len(right.keys() - left.keys())),
    )


def _same_bits(first: float, second: float) -> bool:
    return (math.isnan(first) and math.isnan(second)) or struct.pack("<d", first) == struct.pack("<d", second)
