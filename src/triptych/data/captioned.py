"""Pairs as the loader wants them: each sample's caption drawn and turned to ids, in the worker that reads its image."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from triptych.data.loader import StepLoader
from triptych.data.order import mixed_seed
from triptych.data.pair_source import PairSource
from triptych.data.source import BadSample, Picture, Source
from triptych.features.tokenizer import Tokenizer


class Captioned:
    """A source whose label is the row `(concept, length, ids...)`, int64.

    The caption's draw has a stream of its own, made of the sample's seed: captions do not change how images are
    augmented. Numbers at or above the number of samples are further visits of the same samples (see `PairsOrder`).

    Args:
        pairs: the pictures and captions.
        images: gives the pictures, such as those of `pairs` kept in memory.
        tokenizer: turns a caption to ids.
        training: captions are drawn; otherwise each is the sample's first.
    """

    multilabel = False

    def __init__(self, pairs: PairSource, images: Source, tokenizer: Tokenizer, training: bool) -> None:
        self.classes = pairs.classes
        self.pairs = pairs
        self.tokenizer = tokenizer
        self._images = images
        self._training = training

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        """Name that the source itself gives."""
        return self.pairs.name(index)

    def read(self, index: int) -> tuple[Picture, Tensor]:
        """Image and row of sample `index`.

        Raises:
            BadSample: the image or the caption cannot be read.
        """
        text = self.caption(index)
        if not text:
            raise BadSample("its caption is empty")
        image, _ = self._images.read(index)
        tokens = self.tokenizer([text])
        head = torch.tensor([int(self.pairs.ids[index]), int(tokens.lengths[0])])
        return image, torch.cat((head, tokens.ids[0]))

    def caption(self, index: int) -> str:
        """The caption that `read` turns to ids, under the seed that torch's default generator was last given."""
        if not self._training:
            return self.pairs.captions(index)[0]
        seed = mixed_seed(torch.initial_seed() - 2**63)  # signed, as it is packed
        return self.pairs.draw_caption(index, torch.Generator().manual_seed(seed))


class PairLoader(StepLoader):
    """A `StepLoader` over `Captioned` whose batches have `text`, `text_length` and `id` in place of `label`.

    - `image`: as every loader gives it
    - `text`: int64 `(batch, tokens)`, cut to the longest caption of the batch
    - `text_length`: int64 `(batch,)`, real tokens of each
    - `id`: int64 `(batch,)`, concepts; rows of one concept are positives of each other
    - `index`: int64 `(batch,)`, numbers of the samples

    Over another source its batches are those of every loader.
    """

    def __iter__(self) -> Iterator[dict[str, Any]]:
        captioned = isinstance(self.source, Captioned)
        for batch in super().__iter__():
            if not captioned:
                yield batch
                continue
            rows = batch.pop("label")
            if not len(rows):  # of a short last batch this rank has no sample
                rows = rows.new_zeros(0, 3)
            longest = int(rows[:, 1].max()) if len(rows) else 1
            batch["text"] = rows[:, 2 : 2 + longest]
            batch["text_length"], batch["id"] = rows[:, 1], rows[:, 0]
            yield batch
