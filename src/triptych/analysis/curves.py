"""Loss and metrics over the steps of a run, from `metrics.csv`."""

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator

from triptych.analysis import style
from triptych.analysis.metrics import EPOCH, STEP, MetricsTable

_MOST_PANELS = 6
_RAW_POINTS = 400  # more of them hide the smooth line
_FIRST = ("loss", "accuracy")


def draw_curves(table: MetricsTable, path: Path) -> bool:
    """Draw the loss, each metric, and below them the learning rate; False if nothing was logged.

    Columns that end alike (`train/loss`, `val/loss`) share a panel. Training is a smooth line over its raw one,
    validation a line with a dot for each time, its best value ringed, and told in the legend.
    """
    panels = _panels(table)
    if not panels:
        return False
    columns = 1 if len(panels) == 1 else 2 if len(panels) in (2, 4) else 3
    rows = math.ceil(len(panels) / columns)
    rates = [name for name in table.columns if name == "lr" or name.startswith("lr/")]
    figure = style.new_figure(4.6 * columns if columns > 1 else 7.0, 3.2 * rows + (1.3 if rates else 0))
    heights = [3.0] * rows + ([1.0] if rates else [])
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    for place, (title, names) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[place // columns, place % columns])
        style.quiet(axes, title)
        _draw_panel(axes, table, names, title)
        _step_axis(axes)
    if rates:
        axes = figure.add_subplot(grid[rows, :])
        style.quiet(axes, "learning rate")
        for name, colour in zip(rates, style.LINES, strict=False):
            steps, values = table.series(name)
            axes.plot(steps, values, color=colour, linewidth=1.4, label=name)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        axes.yaxis.get_offset_text().set(fontsize=style.SMALL, color=style.MUTED)
        _step_axis(axes)
        axes.set_xlabel("step", fontsize=style.SMALL, color=style.MUTED)
    style.save(figure, path)
    return True


def smoothed(values: list[float]) -> list[float]:
    """An exponential mean over about a fiftieth of the values, unbiased at its start; skips what is not finite."""
    keep = 1 - 1 / max(1.0, len(values) / 50)
    mean, weight, smooth = 0.0, 0.0, []
    for value in values:
        if math.isfinite(value):
            mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        smooth.append(mean / weight if weight else math.nan)
    return smooth


def _panels(table: MetricsTable) -> dict[str, list[str]]:
    panels: dict[str, list[str]] = {}
    for name in table.columns:
        if name not in (STEP, EPOCH, "lr") and not name.startswith("lr/"):
            panels.setdefault(name.rpartition("/")[2], []).append(name)
    # What was validated comes before what only describes training, such as the norm of the gradients.
    plain = [name for name, columns in panels.items() if columns == [name]]
    order = dict.fromkeys(name for name in (*_FIRST, *panels) if name in panels and name not in plain)
    order |= dict.fromkeys(plain)
    return {name: panels[name] for name in list(order)[:_MOST_PANELS]}


def _draw_panel(axes: Axes, table: MetricsTable, names: list[str], title: str) -> None:
    evaluated = [name for name in names if not name.startswith("train/") and "/" in name]
    colours = dict(zip(evaluated, (style.VERMILLION, *style.LINES[1:]), strict=False))
    shown: list[float] = []
    for name in names:
        steps, values = table.series(name)
        if name in evaluated:
            shown += values
            colour = colours.get(name, style.INK)
            dots = 4.5 if len(values) <= 60 else 0
            best = _best(steps, values, smallest=title == "loss" or title.endswith("_loss"))
            # Said in the legend: beside the points the numbers of several sets would lie on each other.
            label = name if best is None else f"{name}, best {best[1]:.4g}"
            axes.plot(steps, values, color=colour, linewidth=1.6, marker="o", markersize=dots, label=label, zorder=3)
            if best is not None:
                axes.plot(*best, color=colour, marker="o", markersize=8, markerfacecolor="none", zorder=4)
        else:
            smooth = smoothed(values)
            shown += smooth
            stride = max(1, len(values) // _RAW_POINTS)
            if len(values) > 20:
                axes.plot(steps[::stride], values[::stride], color=style.BLUE, alpha=0.22, linewidth=0.8)
            axes.plot(steps, smooth, color=style.BLUE, linewidth=1.8, label=name)
        _mark_faults(axes, steps, values)
    finite = [value for value in shown if math.isfinite(value)]
    if finite and max(finite) > min(finite):
        # The raw line may leap far out; the view belongs to what is smooth.
        margin = 0.06 * (max(finite) - min(finite))
        axes.set_ylim(min(finite) - margin, max(finite) + 2 * margin)
    if len(names) > 1 or "/" in names[0]:
        axes.legend(fontsize=style.SMALL, frameon=False, labelcolor=style.INK, loc="best")


def _best(steps: list[int], values: list[float], smallest: bool) -> tuple[int, float] | None:
    """Step and value of the first best one; None where none is finite."""
    finite = [(value, step) for value, step in zip(values, steps, strict=True) if math.isfinite(value)]
    if not finite:
        return None
    value, step = min(finite) if smallest else max(finite, key=lambda pair: (pair[0], -pair[1]))
    return step, value


def _mark_faults(axes: Axes, steps: list[int], values: list[float]) -> None:
    for step, value in zip(steps, values, strict=True):
        if not math.isfinite(value):
            axes.axvline(step, color=style.VERMILLION, linewidth=1, linestyle=":")
            side = "right" if step > (steps[0] + steps[-1]) / 2 else "left"
            axes.text(step, 0.98, f" {value} at step {step} ", ha=side, transform=axes.get_xaxis_transform(), va="top",
                      fontsize=style.SMALL, color=style.VERMILLION)  # fmt: skip
            return


def _step_axis(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(x=0.02)
