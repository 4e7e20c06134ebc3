"""Sounds with captions, mixed, captioned and tokenised in the loader's workers."""

from collections.abc import Callable, Mapping

from torch import Tensor

from triptych.data.audio import AudioData
from triptych.data.captioned_data import CaptionedData
from triptych.data.source import SourceFactory
from triptych.features.log_mel import LogMel
from triptych.features.tokenizer import Tokenizer


class SoundPairsData(CaptionedData, AudioData):
    """Sounds and captions for training and validation: see `CaptionedData` for `samples`, `distinct`, `tokenizer` and
    `templates`, and `AudioData` for the rest.
    """

    def __init__(
        self,
        train: SourceFactory,
        validation: SourceFactory | Mapping[str, SourceFactory],
        augment: Callable[[Tensor], Tensor] | None,
        front_end: LogMel,
        batch_size: int,
        max_seconds: float | int = 10.0,
        max_batch_seconds: float | int | None = None,
        stereo: str = "mean",
        resampling: bool = True,
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
            train, validation, augment, front_end, batch_size, max_seconds, max_batch_seconds, stereo, resampling,
            workers, seed, max_bad_fraction, cache, root,
        )  # fmt: skip
        self._tokenizer = tokenizer
        self.samples = samples
        self.distinct = distinct
        self.templates = templates
