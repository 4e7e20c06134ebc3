"""The loader against torch's `DataLoader` with timm's transforms and `fast_collate`, on the same files and samples."""

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from triptych.data.collation import Stacked
from triptych.data.decode import DECODER_ERRORS, FORMATS
from triptych.data.loader import BadSamples, StepLoader
from triptych.data.module import ImageData
from triptych.data.order import Order
from triptych.data.source import BadSample, EncodedSource, Source
from triptych.data.transforms import CentreCrop, RandomResizedCrop, Transform
from triptych.errors import UserError
from triptych.features.native_size import NativeSize

Step = Callable[[], object]


def our_loader(data: ImageData, augment: Transform, batches: int) -> Step:
    """One pass over the first training batches, up to `batches` of them, as a function of nothing."""
    if isinstance(data.image_size, NativeSize):
        raise UserError("mode=loader times images of one size: take data/image_size=null")
    collation = Stacked((data.channels, *data.image_size))
    order = FirstBatches(data.order, batches)
    bad = BadSamples(len(data.train_source), data.max_bad_fraction)
    loader = StepLoader(data.train_source, order, augment, collation, bad, data.workers, training=False)

    def run() -> None:
        for _ in loader:
            pass

    return run


def timms_loader(data: ImageData, augment: Transform, batches: int) -> Step:
    """The same samples through timm's transforms and `fast_collate`.

    Raises UserError where timm has no transform like the data's.
    """
    from timm.data.loader import fast_collate

    order = FirstBatches(data.order, batches)
    steps = [order.indices(step).tolist() for step in range(order.steps_per_epoch)]
    loader = DataLoader(
        _Pictures(data.train_source, timms_transform(augment), data.channels),
        batch_sampler=steps,
        num_workers=data.workers,
        collate_fn=fast_collate,
        persistent_workers=data.workers > 0,
    )

    def run() -> None:
        for _ in loader:
            pass

    return run


def timms_transform(transform: Transform) -> Callable[[Image.Image], Any]:
    """timm's transform of the same settings, to uint8 arrays as its prefetching loader has them.

    Raises UserError for one that timm has no like of.
    """
    from timm.data.transforms_factory import create_transform

    size: Any = getattr(transform, "shape", None)
    if isinstance(transform, RandomResizedCrop):
        low, high = transform.log_ratio
        made: Any = create_transform(
            size, is_training=True, scale=transform.scale, ratio=(math.exp(low), math.exp(high)),
            hflip=transform.flip, color_jitter=0.0, interpolation=transform.interpolation.value, use_prefetcher=True,
        )  # fmt: skip
        return made
    if isinstance(transform, CentreCrop):
        made = create_transform(
            size, crop_pct=transform.crop_fraction, interpolation=transform.interpolation.value,
            use_prefetcher=True,
        )  # fmt: skip
        return made
    raise UserError(
        f"timm has no transform that does the same as {type(transform).__name__}: take data/augment=light, mild or none"
    )


class FirstBatches(Order):
    """The first batches of an order, as an epoch of their own."""

    def __init__(self, order: Order, batches: int) -> None:
        super().__init__(order.size, order.batch_size, order.seed)
        self._batches = batches

    @property
    def steps_per_epoch(self) -> int:
        """As many as there are, up to the number asked for."""
        return min(self._batches, super().steps_per_epoch)

    def indices(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """Samples of batch `step`."""
        return self.permutation(0)[step * self.batch_size : (step + 1) * self.batch_size]

    @property
    def samples(self) -> int:
        """In all of its batches."""
        return min(self.steps_per_epoch * self.batch_size, self.size)


class _Pictures(Dataset[Any]):
    """A source as timm's data sets are: Pillow opens the file, timm's transforms cut it."""

    def __init__(self, source: Source, transform: Callable[[Image.Image], Any], channels: int) -> None:
        self._source, self._transform = source, transform
        self._mode = "RGB" if channels == 3 else "L"

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        try:
            return self._transform(self._picture(index)), 0
        except (BadSample, *DECODER_ERRORS):
            return self[(index + 1) % len(self)]  # as timm's own data sets do

    def _picture(self, index: int) -> Image.Image:
        if isinstance(self._source, EncodedSource):
            return Image.open(io.BytesIO(self._source.encoded(index)), formats=FORMATS).convert(self._mode)
        image = self._source.read(index)[0]
        return _as_picture(image) if isinstance(image, Tensor) else image.convert(self._mode)


def _as_picture(image: Tensor) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).squeeze(2).numpy()))
