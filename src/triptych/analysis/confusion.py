"""Confusion matrices as pictures."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from triptych.analysis import style
from triptych.analysis.results import ClassificationResults, Confused, most_confused

_COUNTS_UP_TO = 20  # classes; numbers in smaller cells cannot be read
_NAMES_UP_TO = 60
_SLANTED_UP_TO = 12
_LONGEST = 22
_BLUES = LinearSegmentedColormap.from_list("blues", ["#ffffff", "#c6dff0", "#5aa5d1", "#0072B2", "#00344f"])


def draw_confusion(results: ClassificationResults, path: Path) -> bool:
    """Draw the matrix, each row as shares of its true class; False if there is none.

    Up to 20 classes each cell shows its count. Above that, a second panel names the pairs confused most often, and
    above 60 the axes carry class numbers.
    """
    if results.confusion is None or int(results.confusion.sum()) == 0:
        return False
    counts = results.confusion.numpy()
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    number = len(results.classes)
    pairs = most_confused(results) if number > _COUNTS_UP_TO else []
    side = 2.4 + 0.44 * number if number <= _COUNTS_UP_TO else 8.0
    figure = style.new_figure(max(side, 3.6) + 0.6 + (4.4 if pairs else 0), max(side, 3.6))
    grid = figure.add_gridspec(1, 2 if pairs else 1, width_ratios=[8, 4.2] if pairs else [1])
    axes = figure.add_subplot(grid[0, 0])
    _draw_matrix(figure, axes, shares, results.classes)
    if number <= _COUNTS_UP_TO:
        _write_counts(axes, counts, shares)
    accuracy = float(np.trace(counts) / counts.sum())
    axes.set_title(f"{accuracy:.1%} of {counts.sum():,} right", loc="left", fontsize=style.TITLE, color=style.INK,
                   fontweight="bold")  # fmt: skip
    if pairs:
        _draw_pairs(figure.add_subplot(grid[0, 1]), pairs)
    style.save(figure, path)
    return True


def _draw_matrix(figure: Figure, axes: Axes, shares: Float[np.ndarray, "classes classes"], classes: list[str]) -> None:
    number = len(classes)
    # The square root shows a rare confusion that a linear scale would leave white.
    image = axes.imshow(shares, cmap=_BLUES, norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    for side in axes.spines.values():
        side.set_color(style.RULE)
    axes.tick_params(length=0, colors=style.INK)
    size = style.SMALL if number <= 30 else 6
    if number <= _NAMES_UP_TO:
        names = [style.short(name, _LONGEST) for name in classes]
        axes.set_xticks(range(number), names, fontsize=size, parse_math=False)
        if max(map(len, names)) > 3:
            slanted = number <= _SLANTED_UP_TO
            for label in axes.get_xticklabels():
                label.set(rotation=45 if slanted else 90, ha="right" if slanted else "center")
                label.set_rotation_mode("anchor" if slanted else "default")
        axes.set_yticks(range(number), names, fontsize=size, parse_math=False)
    else:
        axes.tick_params(labelsize=style.SMALL)
    what = "" if number <= _NAMES_UP_TO else " (class number)"
    axes.set_xlabel(f"predicted{what}", fontsize=style.TEXT, color=style.MUTED)
    axes.set_ylabel(f"true{what}", fontsize=style.TEXT, color=style.MUTED)
    if number <= _COUNTS_UP_TO:
        axes.set_xticks(np.arange(1, number) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, number) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.2)
        axes.tick_params(which="minor", length=0)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02, ticks=[0, 0.1, 0.25, 0.5, 1], aspect=25)
    bar.ax.set_yticklabels(["0%", "10%", "25%", "50%", "100%"], fontsize=style.SMALL, color=style.MUTED)
    bar.ax.tick_params(length=0)
    for side in bar.ax.spines.values():
        side.set_visible(False)


def _write_counts(
    axes: Axes, counts: Int[np.ndarray, "classes classes"], shares: Float[np.ndarray, "classes classes"]
) -> None:
    for row, column in zip(*counts.nonzero(), strict=True):
        dark = shares[row, column] > 0.3
        axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", fontsize=style.SMALL,
                  color="white" if dark else style.INK)  # fmt: skip


def _draw_pairs(axes: Axes, pairs: list[Confused]) -> None:
    """Bars of the pairs, the most frequent on top, each named above its bar."""
    style.quiet(axes, "most often confused")
    places = range(len(pairs))
    axes.barh(places, [pair.count for pair in pairs], height=0.35, color=style.VERMILLION)
    for place, pair in enumerate(pairs):
        name = f"{style.short(pair.true, _LONGEST)} → {style.short(pair.predicted, _LONGEST)}"
        axes.text(0, place - 0.3, f"{name}   {pair.count:,} ({pair.share:.0%})", ha="left", va="bottom",
                  fontsize=style.SMALL, color=style.INK, parse_math=False)  # fmt: skip
    axes.invert_yaxis()
    axes.set_ylim(len(pairs) - 0.4, -1.0)
    axes.set_axis_off()
