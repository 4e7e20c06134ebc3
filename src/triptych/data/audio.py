"""Sounds and labels."""

from collections.abc import Callable, Mapping

from torch import Tensor

from triptych.data.collation import Clips
from triptych.data.labelled import LabelledData
from triptych.data.sound import Sounds
from triptych.data.source import SourceFactory, with_setting
from triptych.data.waveform_transforms import AtLeast, Chain, RandomSegment, WaveformTransform
from triptych.errors import UserError
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.log_mel import LogMel


class AudioData(LabelledData):
    """Mono clips of differing lengths and labels for training and validation: see `LabelledData` for the other
    arguments. Batches have waveforms; spectrograms are made of them on the device.

    Args:
        augment: transform of training clips ``(1, samples)``, after the choice of a segment.
        front_end: makes spectrograms; its sample rate is what sources bring all sounds to.
        max_seconds: of a clip. Of a longer one training takes a random segment, validation the middle.
        max_batch_seconds: of sound that one device holds at a time in training; None for no bound.
        stereo: what becomes of several channels, and
        resampling: whether sounds of another rate are brought to this one: see `Sounds`.

    Raises:
        UserError: a setting out of its range, and what `LabelledData` raises.
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
        workers: int = 0,
        seed: int = 0,
        max_bad_fraction: float | int = 0.01,
        cache: bool = False,
        root: str | None = None,
        balance: float | int = 0.0,
    ) -> None:
        if not max_seconds > 0:
            raise UserError(f"data.max_seconds is {max_seconds}; it must be above 0")
        if max_batch_seconds is not None and max_batch_seconds < max_seconds:
            raise UserError(
                f"data.max_batch_seconds is {max_batch_seconds}, below the data.max_seconds={max_seconds} of one clip; "
                "raise it, or lower max_seconds"
            )
        self.preprocess = AudioPreprocess(front_end, float(max_seconds))
        if self.preprocess.max_samples is not None and self.preprocess.max_samples < front_end.min_samples:
            raise UserError(
                f"data.max_seconds is {max_seconds}, shorter than one frame ({self.preprocess.min_seconds:g} s); raise "
                "it"
            )
        self.max_batch_seconds = max_batch_seconds
        rate = front_end.sample_rate
        chain: list[WaveformTransform] = [RandomSegment(max_seconds, rate)]
        if augment is not None:
            # A change of speed may leave less than one frame of a short clip, and too much of a long one.
            chain += [AtLeast(augment, front_end.min_samples), self.preprocess.cut]
        medium = Sounds(rate, stereo, resampling, self.preprocess.min_seconds)
        named = validation if isinstance(validation, Mapping) else {"validation": validation}
        super().__init__(
            with_setting(train, "medium", medium),
            {name: with_setting(factory, "medium", medium) for name, factory in named.items()},
            Chain(chain), self.preprocess.cut, batch_size, workers, seed, max_bad_fraction, cache, root, balance,
        )  # fmt: skip

    @property
    def channels(self) -> int:
        """Of a spectrogram."""
        return 1

    @property
    def front_end(self) -> LogMel:
        """Makes spectrograms of waveforms."""
        return self.preprocess.front_end

    def collation(self) -> Clips:
        """Clips end to end."""
        return Clips(self.preprocess, self.max_batch_seconds)
