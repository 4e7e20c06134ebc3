"""Images and labels."""

from collections.abc import Mapping, Sequence

from triptych.data.collation import Collation, collation
from triptych.data.labelled import LabelledData
from triptych.data.sizes import ImageSize, image_shape
from triptych.data.source import SourceFactory
from triptych.data.transforms import CentreCrop, Transform
from triptych.errors import UserError
from triptych.features.native_size import NativeSize
from triptych.features.pixels import Pixels


class ImageData(LabelledData):
    """Images and labels for training and validation, as uint8 batches: see `LabelledData` for the other arguments.

    Args:
        image_size: of the transforms' results: one number, height and width, or a `NativeSize`.
        mean: of each channel, of pixels scaled to 0..1; the objective normalises with it on the device. Its length is
            the number of channels.
        std: standard deviation of each channel, likewise.

    Raises:
        UserError: a setting out of its range, and what `LabelledData` raises.
    """

    def __init__(
        self,
        train: SourceFactory,
        validation: SourceFactory | Mapping[str, SourceFactory],
        augment: Transform,
        evaluate: Transform,
        batch_size: int,
        image_size: ImageSize,
        mean: Sequence[float | int],
        std: Sequence[float | int],
        workers: int = 0,
        seed: int = 0,
        max_bad_fraction: float | int = 0.01,
        cache: bool = False,
        root: str | None = None,
        balance: float | int = 0.0,
    ) -> None:
        if len(mean) != len(std) or len(mean) not in (1, 3):
            raise UserError(f"mean has {len(mean)} values and std {len(std)}: both need 3 (RGB) or 1 (grey)")
        if not all(0 <= value <= 1 for value in mean):
            raise UserError(
                f"mean is {list(mean)}; it is of pixels scaled to 0..1: divide numbers of 0..255, and std too, by 255"
            )
        if min(std) <= 0:
            raise UserError(f"std is {list(std)}; each must be above 0")
        if isinstance(image_size, NativeSize) and image_size.sides and isinstance(augment, CentreCrop):
            raise UserError(
                f"data.image_size.sides={list(image_size.sides)} draws a size for each training image, but nothing is "
                "augmented (data/augment=none, or a linear probe): set data.image_size.sides=null"
            )
        super().__init__(
            train, validation, augment, evaluate, batch_size, workers, seed, max_bad_fraction, cache, root, balance,
        )  # fmt: skip
        self.image_size = image_shape(image_size)
        self.mean = tuple(float(value) for value in mean)
        self.std = tuple(float(value) for value in std)

    @property
    def channels(self) -> int:
        """Colour channels of an image."""
        return len(self.mean)

    @property
    def front_end(self) -> Pixels:
        """Normalises by mean and standard deviation."""
        return Pixels(self.mean, self.std)

    def collation(self) -> Collation:
        """Images of one size, or each of its own."""
        return collation(self.channels, self.image_size)
