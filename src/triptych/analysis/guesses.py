"""Images with the classes that a model thinks of first, each with its probability."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from triptych.analysis import style
from triptych.analysis.grids import show_image
from triptych.analysis.results import ClassificationResults, ImageOf

_COLUMNS = 4
_LONGEST = 26


@dataclass(frozen=True)
class Guesses:
    """What was thought of one sample.

    Args:
        index: its number in the data set.
        true: its class.
        rank: place of that class among all, from 1.
        names: classes, the most probable first.
        probabilities: of these.
    """

    index: int
    true: str
    rank: int
    names: Sequence[str]
    probabilities: Sequence[float]


def guesses_of(results: ClassificationResults, rows: Sequence[int], top: int = 5) -> list[Guesses]:
    """The `top` most probable classes of the samples in some rows of the results of single labels."""
    probabilities = results.logits[list(rows)].double().softmax(dim=-1)
    first = probabilities.topk(min(top, probabilities.shape[1]), dim=-1)
    labels = results.labels[list(rows)]
    ranks = 1 + (probabilities > probabilities.gather(1, labels[:, None])).sum(dim=1)
    found = zip(rows, labels.tolist(), ranks.tolist(), first.indices.tolist(), first.values.tolist(), strict=True)
    return [
        Guesses(int(results.indices[row]), results.classes[true], rank, [results.classes[each] for each in best], sure)
        for row, true, rank, best, sure in found
    ]


def draw_guesses(guesses: Sequence[Guesses], image_of: ImageOf, path: Path, title: str) -> bool:
    """Draw each image beside bars of its guesses, the true class in green; False if there are none."""
    if not guesses:
        return False
    columns = min(_COLUMNS, len(guesses))
    rows = -(-len(guesses) // columns)
    figure = style.new_figure(columns * 3.5, rows * 1.75 + 0.45)
    figure.suptitle(title, x=0.01, ha="left", fontsize=style.TITLE, fontweight="bold", color=style.INK)
    grid = figure.add_gridspec(rows, 2 * columns, width_ratios=[1, 1.25] * columns)
    for number, each in enumerate(guesses):
        row, column = divmod(number, columns)
        picture = figure.add_subplot(grid[row, 2 * column])
        show_image(picture, image_of(each.index))
        for side in picture.spines.values():
            side.set_color(style.RULE)
        place = "" if each.rank <= len(each.names) else f", rank {each.rank:,}"
        name = style.short(each.true, _LONGEST)
        picture.set_xlabel(f"{name}{place}", fontsize=7.5, color=style.MUTED, parse_math=False)
        _draw_bars(figure.add_subplot(grid[row, 2 * column + 1]), each)
    style.save(figure, path)
    return True


def _draw_bars(axes: Axes, guesses: Guesses) -> None:
    places = range(len(guesses.names))
    colours = [style.GREEN if name == guesses.true else style.VERMILLION for name in guesses.names]
    axes.barh(places, guesses.probabilities, height=0.28, color=colours)
    for place, (name, probability) in enumerate(zip(guesses.names, guesses.probabilities, strict=True)):
        right = name == guesses.true
        axes.text(0, place - 0.22, f"{style.short(name, _LONGEST)}  {probability:.0%}", ha="left", va="bottom",
                  fontsize=7, color=style.GREEN if right else style.INK, parse_math=False,
                  fontweight="bold" if right else "normal")  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(len(guesses.names) - 0.6, -0.85)
    axes.set_axis_off()
