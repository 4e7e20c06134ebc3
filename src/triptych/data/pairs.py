"""The data of a contrastive run: pictures with captions, mixed, captioned and tokenised in the loader's workers."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from triptych.data.captioned import BadPairs, Captioned, PairLoader
from triptych.data.mixture import shares_of
from triptych.data.module import ImageData
from triptych.data.pair_source import PairSource, pairs_of
from triptych.data.pairs_order import PairsOrder
from triptych.data.sizes import ImageSize
from triptych.data.source import BadSample, Source, SourceFactory
from triptych.data.transforms import Transform
from triptych.errors import UserError
from triptych.features.tokenizer import Tokenizer


class AllCaptions(NamedTuple):
    """Every caption of a data set, for retrieval.

    Attributes:
        texts: the captions.
        samples: int64 `(texts,)`, the sample that each is of.
    """

    texts: list[str]
    samples: np.ndarray


class PairsData(ImageData):
    """Pictures and captions for training and validation; for the batches see `PairLoader`. A validation set may have
    labels in place of captions: its batches are those of `ImageData`, its classes its own.

    Which samples make up a step, how each is augmented and which of its captions it gets is a function of seed, epoch
    and step alone. Validation gives every sample once, with its first caption; `captions` gives all.

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

    _loader_kind = PairLoader

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

    @property
    def tokenizer(self) -> Tokenizer:
        """Turns captions to ids.

        Raises:
            UserError: there is none.
        """
        if self._tokenizer is None:
            raise UserError(
                "nothing says how captions become tokens: the model has no tokenizer; choose one, such as "
                "model/tokenizer=clip"
            )
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer

    def corpus(self) -> Iterator[str]:
        """Texts that have every word of the training captions; samples that cannot be read are passed over."""
        for index in range(len(self._train_pairs)):
            try:
                texts = self._train_pairs.corpus(index)
            except BadSample:
                continue
            yield from texts

    @cached_property
    def train_source(self) -> Captioned:
        """The training samples."""
        return self._captioned(self._train_pairs, training=True)

    @cached_property
    def validation_sources(self) -> dict[str, Source]:
        """The validation samples by name."""
        return {name: self._for_validation(name, source) for name, source in self._validation_given.items()}

    @cached_property
    def order(self) -> PairsOrder:
        """Which samples make up each training step."""
        pairs = self._train_pairs
        if self.distinct and not pairs.classes:
            raise UserError(
                "data.distinct=true keeps two samples of one concept out of a batch, but no concepts are known: name "
                "the field or column that tells them, data.train.concept=NAME, or set data.distinct=false"
            )
        ids = pairs.ids if self.distinct else None
        samples = self.samples
        if samples is None:
            # A pair in a short batch would be told from few others; the samples that are left begin the next epoch.
            samples = len(pairs) - len(pairs) % self.batch_size or len(pairs)
        return PairsOrder(shares_of(pairs), self.batch_size, samples, ids, self.seed, pairs.classes)

    def captions(self, name: str) -> AllCaptions:
        """All captions of the validation samples `name`; a sample that has none has none here.

        Raises:
            KeyError: there is no such validation source with captions.
        """
        pairs = self._validation_given[name]
        if not isinstance(pairs, PairSource):
            raise KeyError(f"{name} has labels, not captions")
        texts: list[str] = []
        samples: list[int] = []
        for index in range(len(pairs)):
            try:
                found = pairs.captions(index)
            except BadSample:
                continue  # the loader names it
            texts += found
            samples += [index] * len(found)
        return AllCaptions(texts, np.array(samples, dtype=np.int64))

    @cached_property
    def _train_pairs(self) -> PairSource:
        return pairs_of(self._train_factory)

    @cached_property
    def _validation_given(self) -> dict[str, Source]:
        return {name: make() for name, make in self._validation_factories.items()}

    def _for_validation(self, name: str, source: Source) -> Source:
        if isinstance(source, PairSource):
            return self._captioned(source, training=False)
        if source.multilabel:
            raise UserError(
                f"the data {name!r} have several labels a sample, which classes told apart by words cannot have"
            )
        return self._cached(source)

    def _captioned(self, pairs: PairSource, training: bool) -> Captioned:
        captioned = Captioned(pairs, self._cached(pairs), self.tokenizer, training)
        self._bad[id(captioned)] = BadPairs(len(pairs), self.max_bad_fraction)
        return captioned
