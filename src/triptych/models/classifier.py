"""A tower with a linear head over classes."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from triptych.features.preprocess import Preprocess
from triptych.nn.init import initialise_head
from triptych.nn.linear import Linear
from triptych.towers.vision import VisionTower


class Classifier(nn.Module):
    """Images to class logits. ``preprocess`` says what the tower wants of its images, and travels with the weights;
    ``config`` is the plain description that it was built from, where there is one.
    """

    config: dict[str, Any] | None = None

    def __init__(self, tower: VisionTower, num_classes: int, preprocess: Preprocess | None = None) -> None:
        super().__init__()
        self.tower = tower
        self.preprocess = preprocess or _default_preprocess(tower)
        self.reset_head(num_classes)

    @property
    def num_classes(self) -> int:
        """How many classes the head tells apart."""
        return self.head.out_features

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
        """A fresh head for ``num_classes`` classes, on the tower's device. Raises ValueError below 1."""
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; a classifier needs at least 1.")
        like = next(self.tower.parameters())
        self.head = Linear(self.tower.dim, num_classes, device=like.device, dtype=like.dtype)
        initialise_head(self.head)


def _default_preprocess(tower: VisionTower) -> Preprocess:
    halves = (0.5,) * tower.channels
    return Preprocess(tower.image_size, halves, halves)
