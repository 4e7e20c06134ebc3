"""A tower with a linear head over classes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from triptych.features.preprocess import Preprocess
from triptych.nn.init import initialise_head
from triptych.nn.linear import Linear
from triptych.towers.timm import TimmTower
from triptych.towers.vision import VisionTower


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
        tower: VisionTower | TimmTower,
        num_classes: int,
        preprocess: Preprocess | None = None,
        head: Callable[[int, int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.make_head = head or Linear
        # Whoever reaches into a tower knows which of the two it is.
        self.tower: Any = tower
        self.preprocess = preprocess or _default_preprocess(tower)
        self.reset_head(num_classes)

    def forward(
        self, images: Float[Tensor, "batch channels height width"] | Sequence[Float[Tensor, "channels _ _"]]
    ) -> Float[Tensor, "samples classes"]:
        """Logits. A sequence of images of differing sizes runs packed."""
        return self.head(self.embed(images))

    def embed(
        self, images: Float[Tensor, "batch channels height width"] | Sequence[Float[Tensor, "channels _ _"]]
    ) -> Float[Tensor, "samples dim"]:
        """The pooled embeddings that the head reads."""
        return self.tower(images).pooled

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


def _default_preprocess(tower: VisionTower | TimmTower) -> Preprocess:
    halves = (0.5,) * tower.channels
    return Preprocess(tower.image_size, halves, halves)
