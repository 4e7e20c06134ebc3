"""What an audio model wants of its input: the settings that travel with its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.features.log_mel import LogMel
from triptych.features.preprocess import Preprocess
from triptych.features.resample import resample
from triptych.features.spectrograms import Spectrograms
from triptych.features.waveforms import Waveforms

KIND = "audio"


@dataclass(frozen=True)
class AudioPreprocess:
    """Mono waveforms at the front end's sample rate, to normalised log-mel spectrograms. Callable on a waveform.

    Of a clip longer than ``max_seconds`` the model takes the middle, unless it is asked for windows of the whole
    (`windows`); None takes clips of any length whole.

    Raises ValueError for ``max_seconds`` that are not above 0.
    """

    front_end: LogMel
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        # A mapping comes from configs and JSON.
        if isinstance(self.front_end, Mapping):
            object.__setattr__(self, "front_end", LogMel.from_dict(self.front_end))
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ValueError(f"max_seconds is {self.max_seconds}; it must be above 0.")

    @property
    def sample_rate(self) -> int:
        """Samples a second, Hz."""
        return self.front_end.sample_rate

    @property
    def max_samples(self) -> int | None:
        """Samples of the longest clip that is taken whole."""
        return None if self.max_seconds is None else max(1, round(self.max_seconds * self.sample_rate))

    @property
    def min_seconds(self) -> float:
        """Of the shortest clip that has a frame."""
        return self.front_end.min_samples / self.sample_rate

    def __call__(
        self, waveform: Float[Tensor, "*channels samples"] | Sequence[Tensor], sample_rate: int | None = None
    ) -> Spectrograms:
        """A waveform, or several of any lengths, as the model takes them. Channels are averaged; ``sample_rate`` (Hz)
        is theirs where it is not the model's.

        Raises UserError for a clip shorter than one frame.
        """
        clips = [waveform] if isinstance(waveform, Tensor) else list(waveform)
        mono = [clip.mean(0, keepdim=True) if clip.ndim == 2 else clip[None] for clip in clips]
        if sample_rate is not None:
            mono = [resample(clip, sample_rate, self.sample_rate) for clip in mono]
        return self.normalise(self.batch([self.cut(clip) for clip in mono]))

    def cut(self, clip: Float[Tensor, "1 samples"]) -> Float[Tensor, "1 kept"]:
        """The middle of a clip that is too long."""
        most = self.max_samples
        if most is None or clip.shape[1] <= most:
            return clip
        start = (clip.shape[1] - most) // 2
        return clip[:, start : start + most]

    def windows(
        self, clip: Float[Tensor, "1 samples"], hop_seconds: float | None = None
    ) -> list[tuple[float, Float[Tensor, "1 kept"]]]:
        """The whole clip in windows of ``max_seconds``, each with its start in seconds: one every ``hop_seconds``
        (None: half a window), the last one at the clip's end; a clip that is short enough is one window.
        """
        most = self.max_samples
        if most is None or clip.shape[1] <= most:
            return [(0.0, clip)]
        hop = most // 2 if hop_seconds is None else round(hop_seconds * self.sample_rate)
        last = clip.shape[1] - most
        starts = [*range(0, last, max(1, hop)), last]
        return [(start / self.sample_rate, clip[:, start : start + most]) for start in starts]

    def batch(self, clips: Sequence[Float[Tensor, "1 _"]]) -> Waveforms:
        """What `cut` gave for some clips as the batch that `normalise` takes."""
        return Waveforms.of([clip[0] for clip in clips], self.sample_rate)

    @torch.no_grad()
    def normalise(self, waveforms: Waveforms) -> Spectrograms:
        """Clips as spectrograms, on whatever device they are."""
        return self.front_end(waveforms)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"kind": KIND, "front_end": self.front_end.to_dict(), "max_seconds": self.max_seconds}


def preprocess_from_dict(values: Mapping[str, Any]) -> Preprocess | AudioPreprocess:
    """The preprocessing that ``to_dict`` of either kind described. Raises TypeError for an unknown key."""
    if values.get("kind") != KIND:
        return Preprocess.from_dict(values)
    return AudioPreprocess(**{key: value for key, value in values.items() if key != "kind"})
