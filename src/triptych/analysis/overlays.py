"""Attention laid over the pictures that it looks at."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor
from torch.nn import functional as F

from triptych.analysis import style
from triptych.analysis.explanation import Explanation

_PANEL, _LAYER, _HEAD, _LEAST = 2.9, 2.1, 1.5, 1.1  # inches
_LAYERS_IN_A_ROW = 6
_PAIRS_IN_A_ROW = 8
_LONGEST = 24
_COLOURS = matplotlib.colormaps["inferno"]  # its lightness alone tells the order
_SHARE = 0.58  # of the colour in a pixel


def overlay(
    pixels: UInt8[Tensor, "channels height width"], weights: Float[Tensor, "rows columns"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture in grey under the colours of a map, which is stretched over it, each patch's weight at the patch's
    centre: dark is the map's least, bright yellow its most. A map without differences is dark throughout.
    """
    height, width = pixels.shape[1:]
    heat = weights.double() - weights.double().min()
    # What is no more than rounding is no difference.
    heat = heat / heat.max() if float(heat.max()) > 1e-6 * float(weights.abs().max()) else torch.zeros_like(heat)
    fine = F.interpolate(heat[None, None], size=(height, width), mode="bilinear", align_corners=False)[0, 0].numpy()
    mixed = (1 - _SHARE) * _grey(pixels)[..., None] + _SHARE * _COLOURS(fine)[..., :3] * 255
    return mixed.round().astype(np.uint8)


def draw_explanation(explanation: Explanation, classes: Sequence[str], path: Path, heads: bool = False) -> None:
    """One picture: as the model saw it, attention rollout, what speaks for the class, and each layer's mean over its
    heads; with `heads`, every head of every layer below each other.
    """
    layers = explanation.layers
    columns = min(_LAYERS_IN_A_ROW, len(layers))
    rows = -(-len(layers) // columns)
    most_heads = max(len(layer) for layer in layers)
    width = max(3 * _PANEL, most_heads * _LEAST if heads else 0)
    heights = [width / 3 + 0.35, rows * (min(_LAYER, width / columns) + 0.2) + 0.4]
    if heads:
        heights.append(len(layers) * (min(_HEAD, width / most_heads) + 0.05) + 0.6)
    figure = style.new_figure(width + 0.4, sum(heights))
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_top(parts[0], explanation, classes)
    _draw_layers(parts[1], explanation, rows, columns)
    if heads:
        _draw_heads(parts[2], explanation, most_heads)
    style.save(figure, path)


def draw_looks(explanations: Sequence[Explanation], classes: Sequence[str], path: Path) -> bool:
    """Pictures with what speaks for the predicted class below each; False if there are none."""
    if not explanations:
        return False
    columns = min(_PAIRS_IN_A_ROW, len(explanations))
    rows = -(-len(explanations) // columns)
    figure = style.new_figure(max(3.6, columns * 1.55), rows * 3.05 + 0.2)
    grid = figure.add_gridspec(2 * rows, columns)
    for place, each in enumerate(explanations):
        row, column = 2 * (place // columns), place % columns
        _show(figure.add_subplot(grid[row, column]), _colour(each.pixels))
        axes = figure.add_subplot(grid[row + 1, column])
        _show(axes, overlay(each.pixels, each.relevance))
        said = f"{style.short(class_name(classes, each.target), 18)} {float(each.probabilities[each.target]):.0%}"
        axes.set_xlabel(said, fontsize=7.5, color=style.MUTED, parse_math=False)
    style.save(figure, path)
    return True


def class_name(classes: Sequence[str], number: int) -> str:
    """A class as people call it: by its name, or by its number where names are not known (`classes` is empty)."""
    return classes[number] if classes else f"class {number}"


def _draw_top(figure: SubFigure, explanation: Explanation, classes: Sequence[str]) -> None:
    target = explanation.target
    said = f"{style.short(class_name(classes, target), _LONGEST)} {float(explanation.probabilities[target]):.0%}"
    panels = (
        ("what the model saw", _colour(explanation.pixels)),
        ("attention rollout", overlay(explanation.pixels, explanation.rollout)),
        (f"speaks for {said}", overlay(explanation.pixels, explanation.relevance)),
    )
    for axes, (title, picture) in zip(figure.subplots(1, 3), panels, strict=True):
        _show(axes, picture)
        axes.set_title(title, loc="left", fontsize=style.TEXT, color=style.INK, fontweight="bold", parse_math=False)


def _draw_layers(figure: SubFigure, explanation: Explanation, rows: int, columns: int) -> None:
    _heading(figure, "attention of each layer, mean over its heads (first layer first)")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for number, axes in enumerate(panels):
        if number >= len(explanation.layers):
            axes.set_axis_off()
            continue
        _show(axes, overlay(explanation.pixels, explanation.layers[number].mean(0)))
        axes.set_xlabel(f"layer {number}", fontsize=style.SMALL, color=style.MUTED)


def _draw_heads(figure: SubFigure, explanation: Explanation, most: int) -> None:
    _heading(figure, "every head")
    panels = figure.subplots(len(explanation.layers), most, squeeze=False)
    for number, (layer, row) in enumerate(zip(explanation.layers, panels, strict=True)):
        for head, axes in enumerate(row):
            if head >= len(layer):
                axes.set_axis_off()
                continue
            _show(axes, overlay(explanation.pixels, layer[head]))
            if head == 0:
                axes.set_ylabel(f"layer {number}", fontsize=style.SMALL, color=style.MUTED)
            if number == 0:
                axes.set_title(f"head {head}", fontsize=style.SMALL, color=style.MUTED)


def _heading(figure: Figure | SubFigure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=style.TEXT, fontweight="bold", color=style.INK)


def _show(axes: Axes, picture: UInt8[np.ndarray, "height width 3"]) -> None:
    smooth = "nearest" if max(picture.shape[:2]) <= 96 else "antialiased"
    axes.imshow(picture, interpolation=smooth)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set(color=style.RULE, linewidth=0.8)


def _colour(pixels: UInt8[Tensor, "channels height width"]) -> UInt8[np.ndarray, "height width 3"]:
    rows = pixels.permute(1, 2, 0).numpy()
    return np.repeat(rows, 3, axis=2) if rows.shape[2] == 1 else rows[..., :3]


def _grey(pixels: UInt8[Tensor, "channels height width"]) -> Float[np.ndarray, "height width"]:
    """Luma (ITU-R BT.601)."""
    return _colour(pixels) @ np.array([0.299, 0.587, 0.114])
