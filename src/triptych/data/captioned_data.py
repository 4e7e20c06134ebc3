"""What contrastive data share, be they pictures or sounds with captions: captions, tokens, and the order of pairs."""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np

from triptych.data.captioned import Captioned, PairLoader
from triptych.data.labelled import LabelledData
from triptych.data.mixture import shares_of
from triptych.data.pair_source import PairSource, pairs_of
from triptych.data.pairs_order import PairsOrder
from triptych.data.source import BadSample, Source
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


class CaptionedData(LabelledData):
    """Samples with captions for training and validation; for the batches see `PairLoader`. A validation set may have
    labels in place of captions: its batches are those of `LabelledData`, its classes its own.

    Which samples make up a step, how each is augmented and which of its captions it gets is a function of seed, epoch
    and step alone. Validation gives every sample once, with its first caption; `captions` gives all.

    Attributes:
        samples: of an epoch; None: as many as the training data have, in whole batches.
        distinct: at most one sample of a concept in a batch, so that every other row is a true negative.
        templates: what is said of a concept where validation classifies by names (see `triptych zero_shot`); None
            where captions and samples find each other instead.
    """

    _loader_kind = PairLoader
    samples: int | None = None
    distinct: bool = False
    templates: str | None = None
    _tokenizer: Tokenizer | None = None

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
        return Captioned(pairs, self._cached(pairs), self.tokenizer, training)
