"""Sizes of the images that a model gets."""

from dataclasses import dataclass
from typing import Any

from triptych.schema.option import Range, option
from triptych.schema.run import Part


@dataclass
class NativeSize(Part):
    """Each picture keeps its own size and proportions, and a batch runs without padding (NaViT)."""

    _target_: str = "triptych.features.native_size.NativeSize"
    patch_size: Any = option(
        "pixels that sides are rounded down to: one number, or height and width",
        default="${oc.select:model.tower.patch.patch_size,${oc.select:model.towers.image.patch.patch_size,16}}",
    )
    max_tokens: int = option(
        "most patches of a picture; larger ones shrink, keeping their proportions", default=256, range=Range(least=1)
    )
    enlarge: bool = option("let every picture grow to max_tokens patches", default=False)
    sides: list[float] | None = option(
        "least and largest side (square root of the area, pixels) that training draws for each picture; null: its own",
        default=None,
    )
    max_batch_tokens: int | None = option(
        "patches that one device holds at a time in training; gradients of a batch are accumulated over its "
        "micro-batches; null: the whole batch at once",
        default=None,
        range=Range(least=1),
    )
    route: str = option(
        "how a batch runs, with the same numbers: end to end, or padded to the longest",
        default="packed",
        range=Range(choices=("packed", "padded")),
    )
