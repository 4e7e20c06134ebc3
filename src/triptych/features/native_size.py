"""Which size an image is brought to where each keeps its own."""

import math
from dataclasses import dataclass
from typing import Any

from triptych.errors import UserError

ROUTES = ("packed", "padded")


@dataclass(frozen=True)
class NativeSize:
    """Every image keeps its own size and proportions (Dehghani et al., 2023, "Patch n' Pack: NaViT"): sides are rounded
    down to whole patches, at least one, and an image of more than ``max_tokens`` patches shrinks to the largest size
    that has no more.

    ``patch_size`` is a number of pixels, or height and width. Nothing is enlarged but a side below one patch; with
    ``enlarge``, every image grows to ``max_tokens`` patches. ``sides`` are the least and largest side in pixels (the
    square root of the area) that training draws from for each image, evenly; None keeps the image's own.
    ``max_batch_tokens`` bounds the patches that one device holds at a time in training: micro-batches are cut by it.
    ``route`` is how a batch runs, with the same numbers: "packed", end to end without padding, or "padded" to the
    longest.

    Raises UserError for a setting out of its range.
    """

    patch_size: Any
    max_tokens: int = 256
    enlarge: bool = False
    sides: Any = None
    max_batch_tokens: int | None = None
    route: str = "packed"

    def __post_init__(self) -> None:
        patch = (self.patch_size,) * 2 if isinstance(self.patch_size, int) else tuple(self.patch_size)
        # Lists come from configs and JSON.
        object.__setattr__(self, "patch_size", patch)
        if len(patch) != 2 or min(patch) < 1:
            raise UserError(f"patch_size is {list(patch)}; a height and a width of at least 1 pixel are needed")
        if self.max_tokens < 1:
            raise UserError(f"max_tokens is {self.max_tokens}; an image has at least 1")
        if self.sides is not None:
            object.__setattr__(self, "sides", tuple(self.sides))
            if len(self.sides) != 2 or not 0 < self.sides[0] <= self.sides[1]:
                raise UserError(f"sides is {list(self.sides)}; two sides with 0 < least <= largest are needed")
        if self.max_batch_tokens is not None and self.max_batch_tokens < self.max_tokens:
            raise UserError(
                f"max_batch_tokens is {self.max_batch_tokens}, below the max_tokens={self.max_tokens} of one image; "
                "raise it, or lower max_tokens"
            )
        if self.route not in ROUTES:
            raise UserError(f"route is {self.route!r}; it must be one of {', '.join(ROUTES)}")

    def fit(self, height: int, width: int, draw: float | None = None) -> tuple[int, int]:
        """The size in pixels that an image of ``height`` and ``width`` is brought to.

        ``draw``, from 0 to 1, chooses between the ``sides`` of training; None, for evaluation, keeps the image's own.
        """
        rows_high, columns_wide = self.patch_size
        most = math.inf if self.enlarge else 1.0
        if draw is not None and self.sides is not None:
            least, largest = self.sides
            most = min(most, (least + draw * (largest - least)) / math.sqrt(height * width))
        # At this scale there are no more than max_tokens whole patches; what the rounding left free is used up next.
        scale = min(most, math.sqrt(self.max_tokens * rows_high * columns_wide / (height * width)))
        rows = min(max(1, int(height * scale / rows_high)), self.max_tokens)
        columns = min(max(1, int(width * scale / columns_wide)), self.max_tokens // rows)
        while True:
            taller, wider = (rows + 1) * rows_high / height, (columns + 1) * columns_wide / width
            more = (rows + 1, columns) if taller <= wider else (rows, columns + 1)
            if min(taller, wider) > most or more[0] * more[1] > self.max_tokens:
                return rows * rows_high, columns * columns_wide
            rows, columns = more
