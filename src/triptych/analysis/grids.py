"""Images with what the model said of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from torch import Tensor

from triptych.analysis import style
from triptych.analysis.mistakes import worst_mistakes
from triptych.analysis.results import ClassificationResults, ImageOf, Prediction

NameOf = Callable[[int], str]

_COLUMNS = 8
_CELL = 1.55  # inches
_LONGEST = 18


def draw_grid(results: ClassificationResults, image_of: ImageOf, path: Path, most: int = 32) -> bool:
    """Draw samples spread evenly over the validation set, the wrong ones framed; False if there are none.

    Evenly, because a data set is often sorted by class.
    """
    predictions = results.predictions()
    chosen = [
        predictions[place] for place in np.linspace(0, len(predictions) - 1, min(most, len(predictions))).astype(int)
    ]
    wrong = sum(not each.right for each in chosen)
    return _draw(chosen, image_of, path, f"{len(chosen)} of the validation set, {wrong} wrong")


def draw_mistakes(
    results: ClassificationResults, image_of: ImageOf, path: Path, most: int = 16, name_of: NameOf | None = None
) -> bool:
    """Draw the mistakes of highest loss, worst first: where the model was surest and wrong; False if there are none.

    `name_of` gives each sample's name, the last part of which stands above its image.
    """
    return _draw(worst_mistakes(results, most), image_of, path, "worst mistakes, by loss", name_of)


def _draw(
    predictions: list[Prediction], image_of: ImageOf, path: Path, title: str, name_of: NameOf | None = None
) -> bool:
    if not predictions:
        return False
    columns = min(_COLUMNS, len(predictions))
    rows = -(-len(predictions) // columns)
    figure = style.new_figure(max(3.6, columns * _CELL), rows * (_CELL + (0.6 if name_of else 0.42)) + 0.45)
    figure.suptitle(title, x=0.01, ha="left", fontsize=style.TITLE, fontweight="bold", color=style.INK)
    grid = figure.add_gridspec(rows, columns)
    for place, prediction in enumerate(predictions):
        axes = figure.add_subplot(grid[place // columns, place % columns])
        _draw_cell(axes, image_of(prediction.index), prediction)
        if name_of is not None:
            name = style.short(name_of(prediction.index).rpartition("/")[2], _LONGEST + 6)
            axes.set_title(name, fontsize=6, color=style.MUTED, parse_math=False, pad=3)
    style.save(figure, path)
    return True


def _draw_cell(axes: Axes, image: UInt8[Tensor, "channels height width"], prediction: Prediction) -> None:
    show_image(axes, image)
    for side in axes.spines.values():
        side.set(color=style.RULE if prediction.right else style.VERMILLION, linewidth=0.8 if prediction.right else 3)
    said = f"{style.short(prediction.predicted, _LONGEST)} {prediction.confidence:.0%}"
    if prediction.right:
        axes.set_xlabel(said + "\n", fontsize=7.5, color=style.MUTED, parse_math=False, linespacing=1.3)
    else:
        text = f"✗ {said}\nis {style.short(prediction.true, _LONGEST)}"
        axes.set_xlabel(text, fontsize=7.5, color=style.VERMILLION, parse_math=False, linespacing=1.3)


def show_image(axes: Axes, image: UInt8[Tensor, "channels height width"]) -> None:
    """An image alone: no ticks, its pixels as they are where they are few."""
    pixels = image.permute(1, 2, 0).numpy()
    # A few pixels stay squares; a large image is thinned without flicker.
    smooth = "nearest" if max(pixels.shape[:2]) <= 96 else "antialiased"
    if pixels.shape[2] == 1:
        axes.imshow(pixels[..., 0], cmap="gray", vmin=0, vmax=255, interpolation=smooth)
    else:
        axes.imshow(pixels[..., :3], interpolation=smooth)
    axes.set_xticks([])
    axes.set_yticks([])
