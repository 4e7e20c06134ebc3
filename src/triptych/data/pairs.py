"""Pictures with captions, mixed, captioned and tokenised in the loader's workers."""

from collections.abc import Mapping, Sequence

from triptych.data.captioned_data import CaptionedData
from triptych.data.module import ImageData
from triptych.data.sizes import ImageSize
from triptych.data.source import SourceFactory
from triptych.data.transforms import Transform
from triptych.features.tokenizer import Tokenizer


class PairsData(CaptionedData, ImageData):
    """Pictures and captions for training and validation: see `CaptionedData`.

    Args:
        train: makes the training source, one or a `Mixture`.
        validation: makes a validation source, or names with a factory each. Their concepts are numbered by themselves.
        augment: transform of training images.
        evaluate: transform of validation images.
        batch_size: global: samples of one optimizer step, over all ranks and micro-batches.
        image_size: of the transforms' results: one number, height and width, or a `NativeSize`.
        mean: of each channel, of pixels scaled to 0..1; the objective normalises with it on the device.
        std: standard deviation of each channel, likewise.
        samples: of an epoch; None: as many as the training data have, in whole batches.
        distinct: at most one sample of a concept in a batch, so that every other row is a true negative.
        workers: processes that read images; 0 reads in the main one.
        seed: of order, augmentation and captions.
        max_bad_fraction: of samples that cannot be read and are skipped; more end the run.
        cache: keep all decoded images in memory.
        root: folder or URL of the data, given to each source as `root`; None where the sources know their own.
        tokenizer: turns captions to ids; None: the model's, which is set before `setup`.
        templates: what is said of a concept where validation classifies by names (see `triptych zero_shot`); None
            where captions and pictures find each other instead.

    Raises:
        UserError: a setting out of its range; what the sources themselves raise.
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
        samples: int | None = None,
        distinct: bool = False,
        workers: int = 0,
        seed: int = 0,
        max_bad_fraction: float | int = 0.01,
        cache: bool = False,
        root: str | None = None,
        tokenizer: Tokenizer | None = None,
        templates: str | None = None,
    ) -> None:
        super().__init__(
            train, validation, augment, evaluate, batch_size, image_size, mean, std,
            workers, seed, max_bad_fraction, cache, root,
        )  # fmt: skip
        self._tokenizer = tokenizer
        self.samples = samples
        self.distinct = distinct
        self.templates = templates
