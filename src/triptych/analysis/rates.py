"""The picture of a search for a learning rate."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from triptych.analysis import style
from triptych.measure.learning_rate import Reading

_ABOVE = 0.6  # of the fall: how much above the start is shown


def draw_climbs(readings: Sequence[Reading], rate: float | None, path: Path) -> None:
    """Draw the loss of each climb over the learning rate, with the rate that was found, where one was; a cross where a
    climb has diverged.
    """
    figure = style.new_figure(7.0, 4.2)
    axes = figure.add_subplot()
    style.quiet(axes, "loss while the learning rate climbs")
    for number, (reading, colour) in enumerate(zip(readings, cycle(style.LINES), strict=False), start=1):
        rates = reading.rates[: len(reading.smooth)]
        axes.plot(rates, reading.losses[: len(rates)], color=colour, alpha=0.25, linewidth=0.8)
        label = f"seed {number}" + ("" if reading.refused else f": {reading.rate:.2g}")
        axes.plot(rates, reading.smooth, color=colour, linewidth=1.8, label=label)
        if reading.diverged in rates:
            axes.plot(reading.diverged, reading.smooth[rates.index(reading.diverged)], "x", color=colour)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate", fontsize=style.SMALL, color=style.MUTED)
    axes.set_ylabel("training loss", fontsize=style.SMALL, color=style.MUTED)
    # The loss may leap far out where it diverges; the view belongs to its fall.
    starts = [reading.smooth[0] for reading in readings]
    least = min(min(reading.losses[: len(reading.smooth)]) for reading in readings)
    height = max(max(starts) - least, 1e-12)
    axes.set_ylim(least - 0.06 * height, max(starts) + _ABOVE * height)
    if rate is not None:
        axes.axvline(rate, color=style.VERMILLION, linewidth=1.4)
        axes.text(
            rate, 0.97, f" {rate:.2g}", transform=axes.get_xaxis_transform(), va="top", color=style.VERMILLION,
            fontsize=style.TEXT, fontweight="bold",
        )  # fmt: skip
    axes.legend(fontsize=style.SMALL, frameon=False, labelcolor=style.INK, loc="lower left")
    style.save(figure, path)
