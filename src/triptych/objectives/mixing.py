"""Mixup and cutmix (torchvision's) on a whole batch, drawn from nothing but the seed and the step."""

import hashlib
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import v2

from triptych.errors import UserError


@runtime_checkable
class Mix(Protocol):
    """Mixes the samples of a batch, and their targets likewise. `of_raw`: it takes what the loader brings, and not what
    the front end made of it.
    """

    of_raw: bool

    def __call__(self, inputs: Any, labels: Tensor, num_classes: int, step: int) -> tuple[Any, Tensor]: ...


@runtime_checkable
class Mask(Protocol):
    """Hides parts of a batch that the front end made, by draws of nothing but the seed and the step."""

    def __call__(self, inputs: Any, step: int) -> Any: ...


class BatchMix(nn.Module):
    """Mixes each image of a batch with its neighbour, and its target likewise.

    `mixup` and `cutmix` are the alphas of their Beta distributions (Zhang et al. 2018; Yun et al. 2019), 0 leaves one
    out. Of the batches, a share of `probability` is mixed, all images by the same draw; where both are on, each batch
    takes one of them at even odds, as DeiT does. A batch of one sample stays as it is: it would be mixed with itself.

    torchvision draws from torch's global generator. It is seeded from (seed, step) around the call and put back
    afterwards, so a draw depends on the step and not on what was drawn before, and a resumed run mixes as an unbroken
    one.
    """

    of_raw, modality = False, "image"

    def __init__(self, mixup: float = 0.0, cutmix: float = 0.0, probability: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        for name, alpha in (("mixup", mixup), ("cutmix", cutmix)):
            if not alpha >= 0:
                raise UserError(f"mix.{name} is {alpha}, but must be at least 0 (0 turns it off)")
        if not 0 <= probability <= 1:
            raise UserError(f"mix.probability is {probability}, but must be at least 0 and at most 1")
        if not mixup and not cutmix:
            raise UserError("mix.mixup and mix.cutmix are both 0, so nothing would be mixed; set one, or take mix=null")
        kinds = [kind(alpha=alpha) for kind, alpha in ((v2.MixUp, mixup), (v2.CutMix, cutmix)) if alpha]
        self.transform = v2.RandomApply([v2.RandomChoice(kinds)], p=probability)
        self.seed = seed

    def forward(
        self,
        images: Float[Tensor, "batch channels height width"],
        labels: Int[Tensor, " batch"] | Float[Tensor, "batch classes"],
        num_classes: int,
        step: int,
    ) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch {num_classes}"]]:
        """Mixed images, and targets as rows of probabilities (mixed or not)."""
        targets = labels if labels.is_floating_point() else F.one_hot(labels.long(), num_classes).to(images.dtype)
        if len(images) < 2:
            return images, targets
        generator = torch.default_generator
        state = generator.get_state()
        try:
            generator.manual_seed(_seed(self.seed, step))
            images, targets = self.transform(images, targets)
        finally:
            generator.set_state(state)
        return images, targets


def _seed(seed: int, step: int) -> int:
    """32 well-mixed bits: torch's CPU generator looks at no more."""
    return int.from_bytes(hashlib.blake2b(f"mix {seed} {step}".encode(), digest_size=4).digest())
