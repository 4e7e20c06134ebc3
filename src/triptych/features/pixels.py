"""Images as the loader brings them, as a model takes them."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from triptych.errors import UserError
from triptych.features.mixed_images import MixedImages


class Pixels:
    """Normalises images on their device; `mean` and `std` are per channel, in units of the full range 0..1.

    Raises UserError unless both have a number per channel, those of `std` above 0.
    """

    modality = "image"

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        if len(mean) != len(std) or not all(value > 0 for value in std):
            raise UserError(
                f"mean is {list(mean)} and std {list(std)}, but both need one number per channel, std above 0"
            )
        # (x / 255 - mean) / std as one multiply-add. Not buffers: DDP would broadcast them at every step.
        self._scale = torch.tensor([1 / (255 * s) for s in std]).view(-1, 1, 1)
        self._shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(-1, 1, 1)
        self._spread = torch.tensor(list(std)).view(-1, 1, 1)
        self._centre = torch.tensor(list(mean)).view(-1, 1, 1)

    def __call__(self, raw: Any) -> Any:
        """Images `(batch, channels, height, width)`, uint8, or `MixedImages`, to those of about zero mean and unit
        variance, in float32.

        Raises UserError: see `_normalised`.
        """
        return raw.map(self._normalised) if isinstance(raw, MixedImages) else self._normalised(raw)

    def undo(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Pixels in 0..1 of normalised images."""
        return torch.addcmul(self._centre.to(images.device), images.float(), self._spread.to(images.device))

    def _normalised(
        self, images: UInt8[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Raises UserError for another type than uint8, and for another number of channels."""
        if images.dtype != torch.uint8:
            raise UserError(
                f"images come as {images.dtype}, but must be uint8 (0..255): the objective normalises them itself"
            )
        if images.shape[1] != len(self._scale):
            raise UserError(
                f"images have {images.shape[1]} channels, but mean and std are given for {len(self._scale)}"
            )
        if self._scale.device != images.device:
            self._scale, self._shift = self._scale.to(images.device), self._shift.to(images.device)
        return torch.addcmul(self._shift, images.float(), self._scale)
