"""SpecAugment on spectrograms of differing lengths, drawn from the seed, the step and the clip's place alone."""

import hashlib

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from triptych.errors import UserError
from triptych.features.spectrograms import Spectrograms


class SpecAugment(nn.Module):
    """Takes runs of frames and of mel bins out of each clip (Park et al., 2019, without time warping).

    Each of ``frequency_masks`` takes 0 to ``frequency_width`` bins, each of ``time_masks`` 0 to ``time_width`` frames,
    evenly drawn, anywhere in the clip; AST's names for the widths are freqm and timem. All the time masks together take
    at most ``time_share`` of a clip's own frames, so that a short clip keeps its content.

    What is taken out becomes ``pad_value``: silence. (AST and its successors write 0 before they normalise, and so put
    a value there that is above the mean.)

    Which masks a clip gets depends on ``seed``, the step and the clip's place in the batch: not on the other clips,
    their lengths, the device, or what was drawn before.

    Raises UserError for a setting out of its range.
    """

    modality = "audio"

    def __init__(
        self,
        frequency_width: int = 48,
        time_width: int = 192,
        frequency_masks: int = 1,
        time_masks: int = 1,
        time_share: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (
            ("frequency_width", frequency_width),
            ("time_width", time_width),
            ("frequency_masks", frequency_masks),
            ("time_masks", time_masks),
        ):
            if value < 0:
                raise UserError(f"{name} is {value}; it must be at least 0 (0 turns it off)")
        if not 0 <= time_share <= 1:
            raise UserError(f"time_share is {time_share}; it must be at least 0 and at most 1")
        self.frequency_width = frequency_width
        self.time_width = time_width
        self.frequency_masks = frequency_masks
        self.time_masks = time_masks
        self.time_share = time_share
        self.seed = seed

    def forward(self, spectrograms: Spectrograms, step: int, first: int = 0) -> Spectrograms:
        """The clips with parts taken out. ``first`` is the place of the first clip in the batch of all ranks.

        Raises UserError where a mask may be wider than a frame has bins.
        """
        if self.frequency_width > spectrograms.mel_bins:
            raise UserError(
                f"frequency_width is {self.frequency_width}, and a frame has {spectrograms.mel_bins} mel bins: "
                "take a smaller width"
            )
        if not len(spectrograms):
            return spectrograms
        device, lengths = spectrograms.device, torch.tensor(spectrograms.lengths)
        draws = self._draws(step, first, len(spectrograms))
        bins = torch.full_like(lengths, spectrograms.mel_bins)
        most = (lengths * self.time_share / max(1, self.time_masks)).long().clamp_(max=self.time_width)
        wide = _inside(draws[:, : self.frequency_masks], torch.full_like(bins, self.frequency_width), bins)
        long = _inside(draws[:, self.frequency_masks :], most, lengths)
        starts = lengths.cumsum(0) - lengths
        wide, long, place = (each.to(device) for each in (wide, long, torch.stack((starts, lengths))))
        total = len(spectrograms.frames)
        owner = torch.arange(len(lengths), device=device).repeat_interleave(place[1], output_size=total)
        frame = torch.arange(total, device=device) - place[0][owner]
        gone = _covers(wide, torch.arange(spectrograms.mel_bins, device=device).expand(len(lengths), -1))[owner]
        gone = gone | _covers(long[owner], frame[:, None])
        return spectrograms.with_frames(spectrograms.frames.masked_fill(gone, spectrograms.pad_value))

    def _draws(self, step: int, first: int, count: int) -> Tensor:
        """Two numbers from 0 to 1 for each mask of each clip, ``(count, masks, 2)``: the generator gives them place by
        place, so a clip's do not depend on how many follow.
        """
        key = hashlib.blake2b(f"spec_augment {self.seed} {step}".encode(), digest_size=4).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key))
        masks = self.frequency_masks + self.time_masks
        return torch.rand(first + count, masks, 2, generator=generator, dtype=torch.float64)[first:]


def _inside(draws: Tensor, most: Int[Tensor, " clips"], size: Int[Tensor, " clips"]) -> Int[Tensor, "clips masks 2"]:
    """Start and end of runs of 0 to ``most`` places that lie within ``size``."""
    width = (draws[..., 0] * (most + 1)[:, None]).long()
    start = (draws[..., 1] * (size[:, None] - width + 1)).long()
    return torch.stack((start, start + width), -1)


def _covers(runs: Int[Tensor, "rows masks 2"], places: Int[Tensor, "rows places"]) -> Bool[Tensor, "rows places"]:
    """Which places lie in one of the row's runs."""
    return ((places[:, None] >= runs[..., :1]) & (places[:, None] < runs[..., 1:])).any(1)
