"""A tower with a linear head over classes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.mel_presets import ast
from triptych.features.preprocess import Preprocess
from triptych.features.spectrograms import Spectrograms
from triptych.nn.init import initialise_head
from triptych.nn.linear import Linear
from triptych.towers.audio import AudioTower, Lengths
from triptych.towers.timm import TimmTower
from triptych.towers.vision import VisionTower

Inputs = (
    Float[Tensor, "batch channels height width"]
    | Float[Tensor, "batch frames mel_bins"]
    | Sequence[Float[Tensor, "channels _ _"]]
    | Spectrograms
)


class Classifier(nn.Module):
    """Images or spectrograms to class logits. ``preprocess`` says what the tower wants of its input, and travels with
    the weights; ``config`` is the plain description that it was built from, where there is one. ``head(width,
    num_classes)`` makes the head, a linear map where it is None; with ``num_classes=0`` there is none, and logits are
    the embeddings.
    """

    config: dict[str, Any] | None = None
    num_classes: int
    """How many classes the head tells apart, 0 where there is none."""
    head: Any

    def __init__(
        self,
        tower: VisionTower | TimmTower | AudioTower,
        num_classes: int,
        preprocess: Preprocess | AudioPreprocess | None = None,
        head: Callable[[int, int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.make_head = head or Linear
        # Whoever reaches into a tower knows which of the two it is.
        self.tower: Any = tower
        self.preprocess: Any = preprocess or _default_preprocess(tower)
        self.reset_head(num_classes)

    def forward(self, inputs: Inputs, lengths: Lengths = None) -> Float[Tensor, "samples classes"]:
        """Logits of images, of which a sequence of differing sizes runs packed, or of spectrograms ``(batch, frames,
        mel_bins)`` with the real frames of each as ``lengths``.
        """
        return self.head(self.embed(inputs, lengths))

    def embed(self, inputs: Inputs, lengths: Lengths = None) -> Float[Tensor, "samples dim"]:
        """The pooled embeddings that the head reads."""
        return self.tower(*((inputs,) if lengths is None else (inputs, lengths))).pooled

    def reset_head(self, num_classes: int) -> None:
        """A fresh head for ``num_classes`` classes, on the tower's device; 0 takes it away. Raises ValueError below
        0.
        """
        if num_classes < 0:
            raise ValueError(f"num_classes is {num_classes}; it must be at least 1, or 0 for no head.")
        self.num_classes = num_classes
        if num_classes == 0:
            self.head = nn.Identity()
            return
        like = next(self.tower.parameters())
        with torch.device(like.device):
            self.head = self.make_head(self.tower.embedding_dim, num_classes).to(like.dtype)
        for linear in self.head.modules():
            if isinstance(linear, nn.Linear):
                initialise_head(linear)


def _default_preprocess(tower: VisionTower | TimmTower | AudioTower) -> Preprocess | AudioPreprocess:
    if isinstance(tower, AudioTower):
        return AudioPreprocess(ast(mel_bins=tower.mel_bins))
    halves = (0.5,) * tower.channels
    return Preprocess(tower.image_size, halves, halves)
