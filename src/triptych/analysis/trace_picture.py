"""The picture of two runs beside each other: a metric of both, and below it how far apart they are."""

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator

from triptych.analysis import style
from triptych.analysis.metrics import MetricsTable
from triptych.analysis.traces import ColumnGaps, TraceComparison

_GAPS = ("train/loss", "grad_norm")
_NAME = 60  # letters of a run's name


def draw_traces(
    first: MetricsTable, second: MetricsTable, found: TraceComparison, names: tuple[str, str], path: Path
) -> None:
    """Draw the loss of both runs (or what they share instead), and the relative differences on a logarithmic scale."""
    shown = [column for column in found.columns if column.name in _GAPS] or found.columns[:1]
    figure = style.new_figure(8.0, 6.0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    style.quiet(above, shown[0].name)
    # The second is thin and broken, so that both are seen where they lie on each other.
    for table, name, colour, width, dashes in zip(
        (first, second), names, (style.BLUE, style.ORANGE), (2.4, 1.3), ("-", (0, (4, 2))), strict=True
    ):
        steps, values = table.series(shown[0].name)
        above.plot(
            steps, values, color=colour, linewidth=width, linestyle=dashes, label=style.short(name, _NAME),
            marker="o", markersize=_dots(steps),
        )  # fmt: skip
    above.legend(fontsize=style.SMALL, frameon=False, labelcolor=style.INK, loc="best")
    style.quiet(below, "relative difference")
    _draw_gaps(below, shown, found.tolerance)
    below.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    below.xaxis.set_major_formatter(EngFormatter(sep=""))
    below.set_xlabel("step", fontsize=style.SMALL, color=style.MUTED)
    style.save(figure, path)


def _draw_gaps(axes: Axes, columns: list[ColumnGaps], tolerance: float) -> None:
    drawn = [gap for column in columns for gap in column.relative if 0 < gap < math.inf]
    if not drawn:
        axes.set_yticks([])
        equal = all(column.largest is None for column in columns)
        said = "equal at all shared steps" if equal else "no finite difference to draw"
        axes.text(0.5, 0.5, said, ha="center", va="center", transform=axes.transAxes, color=style.MUTED)
        return
    axes.set_yscale("log")
    for column, colour in zip(columns, (style.VERMILLION, style.SKY), strict=False):
        # What is equal has no place on this scale; it lies as a tick at its foot.
        gaps = [gap if 0 < gap < math.inf else math.nan for gap in column.relative]
        axes.plot(
            column.steps, gaps, color=colour, linewidth=1.4, label=column.name, marker="o",
            markersize=_dots(column.steps),
        )  # fmt: skip
        equal = [step for step, gap in zip(column.steps, column.relative, strict=True) if gap == 0]
        axes.plot(
            equal, [0.02] * len(equal), "|", color=colour, markersize=5, transform=axes.get_xaxis_transform(),
        )  # fmt: skip
    if any(gap == 0 for column in columns for gap in column.relative):
        axes.plot([], [], "|", color=style.MUTED, markersize=5, label="equal")
    least, most = min(drawn), max(drawn)
    if tolerance > 0:
        axes.axhline(tolerance, color=style.MUTED, linewidth=1, linestyle=":", label=f"tolerance {tolerance:g}")
        least, most = min(least, tolerance), max(most, tolerance)
    axes.set_ylim(least / 4, most * 4)
    # Beside the title: the lines may be anywhere below.
    axes.legend(
        fontsize=style.SMALL, frameon=False, labelcolor=style.INK, loc="lower right", bbox_to_anchor=(1, 1), ncols=4,
        borderaxespad=0.2,
    )  # fmt: skip


def _dots(steps: list[int]) -> float:
    return 3.0 if len(steps) <= 60 else 0.0
