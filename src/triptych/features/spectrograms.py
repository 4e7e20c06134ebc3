"""A batch of spectrograms that each have their own number of frames."""

from collections.abc import Sequence
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from triptych.features.ragged import Ragged


class Spectrograms(Ragged):
    """Log-mel spectrograms of differing lengths end to end in one tensor; see `Ragged`.

    ``frames`` are those of all clips, ``lengths`` how many each clip has. ``pad_value`` is what stands for "nothing
    there", in padding and in masks: the value of silence, for front ends of `triptych.features.log_mel`.
    ``max_batch_frames`` bounds the frames that one device holds at a time in training.
    """

    def __init__(
        self,
        frames: Float[Tensor, "total mel_bins"],
        lengths: Sequence[int],
        pad_value: float,
        max_batch_frames: int | None = None,
    ) -> None:
        super().__init__(frames, lengths, max_batch_frames)
        self.pad_value = pad_value

    @classmethod
    def of(cls, clips: Sequence[Float[Tensor, "_ mel_bins"]], pad_value: float) -> "Spectrograms":
        """The spectrograms ``(frames, mel_bins)``, at least one, in one tensor."""
        return cls(torch.cat(list(clips)), [len(clip) for clip in clips], pad_value)

    @classmethod
    def from_padded(
        cls, padded: Float[Tensor, "batch longest mel_bins"], lengths: Sequence[int] | Tensor, pad_value: float
    ) -> "Spectrograms":
        """The first ``lengths[i]`` frames of each row. Raises ValueError for a length below 1 or beyond the row."""
        sizes = [int(length) for length in lengths]
        if len(sizes) != len(padded) or max(sizes) > padded.shape[1]:
            raise ValueError(
                f"the lengths are {sizes}, but there are {padded.shape[0]} rows of {padded.shape[1]} frames"
            )
        if min(sizes) == padded.shape[1]:
            return cls(padded.flatten(0, 1), sizes, pad_value)
        return cls.of([row[:size] for row, size in zip(padded, sizes, strict=True)], pad_value)

    @property
    def frames(self) -> Float[Tensor, "total mel_bins"]:
        """Those of all clips, end to end."""
        return self.rows

    @property
    def mel_bins(self) -> int:
        """How many values a frame has."""
        return self.frames.shape[1]

    def _like(self, rows: Tensor, lengths: Sequence[int]) -> Self:
        return type(self)(rows, lengths, self.pad_value, self.max_batch_rows)

    def with_frames(self, frames: Float[Tensor, "total mel_bins"]) -> Self:
        """The same clips with other values."""
        return self._like(frames, self.lengths)

    def blank(self) -> Self:
        """One clip of one frame of ``pad_value``."""
        return self._like(self.frames.new_full((1, self.mel_bins), self.pad_value), [1])

    def padded(self) -> tuple[Float[Tensor, "batch longest mel_bins"], tuple[int, ...]]:
        """The clips as rows, ``pad_value`` behind each, and how many frames each has."""
        return pad_sequence(list(self), batch_first=True, padding_value=self.pad_value), self.lengths
