"""A batch of audio clips that each have their own length."""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from triptych.features.ragged import Ragged


class Waveforms(Ragged):
    """Mono clips of differing lengths end to end in one tensor; see `Ragged`.

    ``samples`` are those of all clips, float32, -1 to 1; ``lengths`` how many each clip has; ``sample_rate`` is in Hz,
    the same for all. ``max_batch_samples`` bounds the samples that one device holds at a time in training:
    micro-batches are cut by it.
    """

    def __init__(
        self,
        samples: Float[Tensor, " total"],
        lengths: Sequence[int],
        sample_rate: int,
        max_batch_samples: int | None = None,
    ) -> None:
        if not samples.is_floating_point():
            raise ValueError(f"samples are numbers from -1 to 1, and these are {samples.dtype}")
        super().__init__(samples, lengths, max_batch_samples)
        self.sample_rate = sample_rate

    @classmethod
    def of(
        cls, clips: Sequence[Float[Tensor, " _"]], sample_rate: int, max_batch_samples: int | None = None
    ) -> "Waveforms":
        """The clips ``(samples,)``, at least one, in one tensor."""
        return cls(torch.cat(list(clips)), [len(clip) for clip in clips], sample_rate, max_batch_samples)

    @property
    def samples(self) -> Float[Tensor, " total"]:
        """Those of all clips, end to end."""
        return self.rows

    @property
    def max_batch_samples(self) -> int | None:
        """That one device holds at a time in training; None: any number."""
        return self.max_batch_rows

    @property
    def seconds(self) -> tuple[float, ...]:
        """How long each clip is."""
        return tuple(length / self.sample_rate for length in self.lengths)

    def _like(self, rows: Tensor, lengths: Sequence[int]) -> Self:
        return type(self)(rows, lengths, self.sample_rate, self.max_batch_samples)

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same clips with what ``function`` makes of their samples, ``(total,)`` to ``(total,)``."""
        return self._like(function(self.samples), self.lengths)

    def blank(self) -> Self:
        """One clip of one second of silence: long enough for every front end."""
        return self._like(self.samples.new_zeros(self.sample_rate), [self.sample_rate])

    def padded(self) -> tuple[Float[Tensor, "batch longest"], tuple[int, ...]]:
        """The clips as rows, zeros behind each, and how many samples each has."""
        return pad_sequence(list(self), batch_first=True), self.lengths
