"""Pictures of a data set: images of each class, their number, and their sizes."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from triptych.analysis import style
from triptych.data.decode import to_tensor
from triptych.data.source import BadSample
from triptych.doctor.balance import counts
from triptych.doctor.crowd import Split

MOST_CLASSES, SAMPLES = 24, 10
"""Classes that a picture shows, and images of each."""

_CELL, _GAP = 80, 6  # pixels
_INCHES = 0.75


def draw_counts(splits: list[Split], path: Path) -> None:
    """Bars of the number of images of each class, one colour a split; of many classes the largest and the smallest."""
    by_split = {split.name: counts(split) for split in splits}
    total: dict[str, int] = {}
    for own in by_split.values():
        for name, count in own.items():
            total[name] = total.get(name, 0) + count
    ordered = sorted(total, key=lambda name: -total[name])
    shown = ordered if len(ordered) <= 2 * MOST_CLASSES else [*ordered[:MOST_CLASSES], *ordered[-MOST_CLASSES:]]
    figure = style.new_figure(7.6, 1.0 + 0.24 * len(shown))
    axes = figure.add_subplot()
    left = np.zeros(len(shown))
    for colour, (split, own) in zip(style.LINES, by_split.items(), strict=False):
        width = np.array([own.get(name, 0) for name in shown])
        axes.barh(range(len(shown)), width, left=left, color=colour, label=split, height=0.72)
        left += width
    for place, name in enumerate(shown):
        axes.text(left[place], place, f" {total[name]:,}", va="center", fontsize=style.SMALL, color=style.MUTED)
    some = "" if len(shown) == len(ordered) else f", the {MOST_CLASSES} largest and smallest of {len(ordered)}"
    style.quiet(axes, f"images of each class{some}")
    axes.grid(visible=False)
    axes.set_yticks(range(len(shown)), [style.short(name, 32) for name in shown], parse_math=False)
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.margins(x=0.12)
    axes.legend(frameon=False, fontsize=style.SMALL, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(splits))
    style.save(figure, path)


def draw_sizes(splits: list[Split], path: Path) -> bool:
    """Histograms of width, height and aspect of all images that can be read; False where there are none."""
    sizes = np.array([seen.size for split in splits for seen in split.seen if not seen.fault])
    if not len(sizes):
        return False
    figure = style.new_figure(9.2, 2.7)
    width, height = sizes[:, 0], sizes[:, 1]
    kinds = ((width, "width in pixels"), (height, "height in pixels"), (width / height, "width / height"))
    for place, (values, title) in enumerate(kinds):
        axes = figure.add_subplot(1, 3, place + 1)
        middle = float(np.median(values))
        spread = max(float(values.max() - values.min()), middle)
        centre = float(values.max() + values.min()) / 2
        around = (centre - 0.55 * spread, centre + 0.55 * spread)
        axes.hist(values, bins=31, range=around, color=style.BLUE)
        axes.axvline(middle, color=style.VERMILLION, linewidth=1.2)
        style.quiet(axes, f"{title}, median {middle:,.4g}")
        axes.title.set_fontsize(style.TEXT)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    style.save(figure, path)
    return True


def draw_samples(split: Split, path: Path) -> bool:
    """A row of images for each class, spread evenly over the class; False where none can be read."""
    rows = _samples(split)
    if not rows:
        return False
    # One mosaic: an axes for each image would take a second for every hundred.
    step = _CELL + _GAP
    mosaic = np.full((len(rows) * step, SAMPLES * step, 3), 255, dtype=np.uint8)
    for place, images in enumerate(rows.values()):
        for column, image in enumerate(images):
            mosaic[place * step : place * step + _CELL, column * step : column * step + _CELL] = image
    figure = style.new_figure(1.6 + _INCHES * SAMPLES, 0.5 + _INCHES * len(rows))
    axes = figure.add_subplot()
    axes.imshow(mosaic, interpolation="nearest" if step <= style.DPI * _INCHES else "antialiased")
    axes.set_frame_on(False)
    axes.set_xticks([])
    names = [style.short(name, 20) for name in rows]
    axes.set_yticks([place * step + _CELL / 2 for place in range(len(rows))], names, parse_math=False)
    axes.tick_params(length=0, labelsize=style.SMALL, labelcolor=style.INK)
    left = len(split.source.classes) - len(rows)
    title = f"images of each class, split {split.name}" + (
        f" ({left} of {len(split.source.classes)} classes not shown)" if left > 0 else ""
    )
    axes.set_title(title, loc="left", fontsize=style.TITLE, fontweight="bold", color=style.INK, parse_math=False)
    style.save(figure, path)
    return True


def _samples(split: Split) -> dict[str, list[np.ndarray]]:
    by_class: dict[str, list[int]] = {}
    for row, label in enumerate(split.labels):
        if not split.seen[row].fault:
            for name in label:
                by_class.setdefault(name, []).append(row)
    rows: dict[str, list[np.ndarray]] = {}
    for name in [each for each in split.source.classes if each in by_class][:MOST_CLASSES]:
        own = by_class[name]
        chosen = np.unique(np.linspace(0, len(own) - 1, min(SAMPLES, len(own))).astype(int))
        rows[name] = [_small(split, own[place]) for place in chosen]
    return rows


def _small(split: Split, row: int) -> np.ndarray:
    """An image on a square of white, as many pixels as the page shows."""
    try:
        picture = split.source.read(row)[0]
    except BadSample:  # it could be read a moment ago
        return np.full((_CELL, _CELL, 3), 255, dtype=np.uint8)
    pixels: UInt8[Tensor, "channels height width"] = picture if isinstance(picture, Tensor) else to_tensor(picture)
    image = Image.fromarray(np.ascontiguousarray(pixels.expand(3, -1, -1).permute(1, 2, 0).numpy()))
    image = image.resize(_fitted(image.size), Image.Resampling.NEAREST if max(image.size) <= 48 else None)
    square = Image.new("RGB", (_CELL, _CELL), (255, 255, 255))
    square.paste(image, ((_CELL - image.width) // 2, (_CELL - image.height) // 2))
    return np.asarray(square)


def _fitted(size: tuple[int, int]) -> tuple[int, int]:
    scale = _CELL / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
