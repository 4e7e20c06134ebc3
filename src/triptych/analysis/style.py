"""How all pictures look: quiet axes, few colours, and none that a colour-blind reader cannot tell apart."""

import unicodedata
import warnings
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's palette (jfly.uni-koeln.de/color), without its yellow, which is too light on white.
BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
LINES = (BLUE, ORANGE, GREEN, PURPLE, SKY)
INK, MUTED, RULE = "#222222", "#6b6b6b", "#d9d9d9"
TITLE, TEXT, SMALL = 12, 10, 8.5
DPI = 120


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches that belongs to nobody else: no global state, no window."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    FigureCanvasAgg(figure)
    return figure


def quiet(axes: Axes, title: str = "") -> None:
    """Leave only what is read: two axes, light rules, the title at the left."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(RULE)
    axes.tick_params(colors=MUTED, labelsize=SMALL, length=0)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    if title:
        axes.set_title(title, loc="left", fontsize=TITLE, color=INK, fontweight="bold", parse_math=False)


def short(name: str, most: int) -> str:
    """A name of at most `most` characters, on one line, without control characters; both its ends stay.

    Names of a data set often begin alike, and differ at the end.
    """
    plain = "".join(" " if unicodedata.category(letter).startswith("C") else letter for letter in name).strip()
    if len(plain) <= most:
        return plain
    tail = (most - 1) * 2 // 5
    return plain[: most - 1 - tail].rstrip() + "…" + plain[len(plain) - tail :].lstrip()


def save(figure: Figure, path: Path) -> None:
    """Write a PNG. Letters that the font lacks become boxes, without a warning for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support .* natively")
        figure.savefig(path, format="png")
