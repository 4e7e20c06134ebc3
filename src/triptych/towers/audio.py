"""The audio tower: log-mel spectrograms to patches to tokens to an embedding (Gong et al., 2021, "AST")."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.features.spectrograms import Spectrograms
from triptych.nn.drop import PatchDropout
from triptych.nn.init import LinearInit, glorot
from triptych.nn.layout import SequenceLayout
from triptych.nn.mixers.base import Mixer
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import Pool
from triptych.nn.position import Position, TokenGrid
from triptych.towers.output import TowerOutput
from triptych.towers.patches import PatchTower

Mel = Float[Tensor, "batch frames mel_bins"] | Spectrograms
Lengths = Int[Tensor, " batch"] | Sequence[int] | None

TAILS = ("complete", "drop")


class AudioTower(PatchTower):
    """A transformer over the patches of spectrograms, composed of parts.

    A spectrogram is read as a picture of one channel, ``mel_bins`` high and as wide as it has frames; clips of
    differing lengths run packed, so that no work is spent on padding. ``mel_bins`` and ``frames`` are what positions
    are built for; any number of frames is taken. Where patches do not cover the last frames, ``tail`` says what becomes
    of them: "complete" fills the last patch up with ``pad_value`` (that of the `Spectrograms` where they are given),
    "drop" leaves them out, as AST does; a clip shorter than one patch is always filled up. The highest bins are left
    out where patches do not cover them: with AST's, every 10, the last two of 128.

    ``patchout()`` makes what leaves out patches in training: see `Patchout`. The other parts are as in `VisionTower`.

    Raises ValueError where parts do not fit each other.
    """

    def __init__(
        self,
        mel_bins: int,
        frames: int,
        dim: int,
        depth: int,
        patch: Callable[[int], PatchEmbedding],
        mixer: Callable[[int], Mixer],
        feedforward: Callable[[int], nn.Module],
        norm: Callable[[int], nn.Module],
        position: Callable[[TokenGrid], Position],
        pool: Callable[[int, Callable[[int], nn.Module]], Pool],
        registers: int = 0,
        layer_scale: float | None = None,
        stochastic_depth: float = 0.0,
        patchout: Callable[[], PatchDropout] = PatchDropout,
        init: LinearInit = glorot,
        input_norm: Callable[[int], nn.Module] | None = None,
        tail: str = "complete",
        pad_value: float = 0.0,
    ) -> None:
        if tail not in TAILS:
            raise ValueError(f"tail is {tail!r}; it must be one of {', '.join(TAILS)}.")
        made = patch(dim)
        if made.channels != 1:
            raise ValueError(f"patch.channels is {made.channels}; a spectrogram has 1.")
        height, width = _covering(mel_bins, made, 0, up=False), _covering(frames, made, 1, up=tail == "complete")
        if height > mel_bins:
            raise ValueError(f"mel_bins is {mel_bins}, but a patch is {height} high.")
        super().__init__(
            (height, width), dim, depth, made, mixer, feedforward, norm, position, pool,
            registers, layer_scale, stochastic_depth, patchout(), init, input_norm,
        )  # fmt: skip
        self.mel_bins, self.frames, self._height = mel_bins, frames, height
        self.tail, self.pad_value = tail, pad_value

    def forward(self, mel: Mel, lengths: Lengths = None) -> TowerOutput:
        """Normalised log-mel frames to tokens and their pooled embedding.

        ``lengths`` are the real frames of each row; without them all are. Clips of one length run as one dense batch,
        others packed.
        """
        return self.run(*self.embed(mel, lengths))

    def intermediates(self, mel: Mel, lengths: Lengths = None) -> list[Tensor]:
        """The tokens after each block, normalised as the final ones are; the last entry is `forward`'s ``tokens``."""
        return self.stack.intermediates(*self.embed(mel, lengths))

    def grids(self, mel: Mel | Sequence[Tensor]) -> list[tuple[int, int]]:
        """Rows (bands, the lowest first) and columns (moments) of the patches of each clip."""
        lengths = [len(clip) for clip in mel]
        return [self.patch.grid((self._height, _covering(n, self.patch, 1, self.tail == "complete"))) for n in lengths]

    def embed(self, mel: Mel, lengths: Lengths = None) -> tuple[Float[Tensor, "*batch dim"], SequenceLayout]:
        """The tokens that enter the stack, prefix tokens first, and their layout."""
        if isinstance(mel, Tensor) and lengths is not None:
            sizes = lengths.tolist() if isinstance(lengths, Tensor) else lengths
            mel = Spectrograms.from_padded(mel, sizes, self.pad_value)
        if isinstance(mel, Tensor):
            return self.embed_dense(self._image(mel, self.pad_value))
        if len(set(mel.lengths)) == 1:
            rows = mel.frames.unflatten(0, (len(mel), mel.lengths[0]))
            return self.embed_dense(self._image(rows, mel.pad_value))
        return self.embed_packed([self._image(clip[None], mel.pad_value)[0] for clip in mel])

    def _image(self, mel: Float[Tensor, "batch frames mel_bins"], pad_value: float) -> Tensor:
        """Clips of one length as pictures `(batch, 1, mel_bins, width)` of whole patches."""
        if mel.shape[2] != self.mel_bins:
            raise ValueError(f"The spectrograms have {mel.shape[2]} mel bins, but the tower takes {self.mel_bins}.")
        frames = mel.shape[1]
        width = _covering(frames, self.patch, 1, up=self.tail == "complete")
        mel = mel[..., : self._height]
        if torch.compiler.is_exporting():
            # By one road for every length, which a graph does not know yet: a place beyond the clip holds the value.
            places = torch.arange(width, device=mel.device)
            found = mel.index_select(1, places.clamp(max=frames - 1))
            mel = torch.where((places < frames)[:, None], found, pad_value)
        elif width > frames:
            mel = F.pad(mel, (0, 0, 0, width - frames), value=pad_value)
        else:
            mel = mel[:, :width]
        return mel.transpose(1, 2)[:, None]


def _covering(extent: int, patch: PatchEmbedding, axis: int, up: bool) -> int:
    """The extent of whole patches along an axis, at least one: no less than ``extent`` or, unless ``up``, no more."""
    size, stride = patch.patch_size[axis], patch.stride[axis]
    # Not `max`, for the extent may be a size that a graph being exported does not know yet.
    steps = cast(int, torch.sym_max(0, extent - size))
    return size + (steps + (stride - 1 if up else 0)) // stride * stride
