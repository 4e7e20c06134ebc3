"""What a vision model wants of its input: the settings that travel with its weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class Preprocess:
    """Resize so that ``crop`` of the shorter side is left by the centre crop to ``image_size`` (height, width,
    pixels), scale to 0..1, normalise by ``mean`` and ``std`` of each channel (in 0..1). Callable on a PIL image or a
    uint8 tensor.

    The resizing rule is timm's: the image is scaled to cover ``image_size / crop``, keeping its proportions.
    """

    image_size: tuple[int, int]
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: str = "bicubic"
    crop: float = 0.9

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation is {self.interpolation!r}; it must be one of {', '.join(INTERPOLATIONS)}.")
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} channels and std {len(self.std)}; they must agree.")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop is {self.crop}; it must be above 0 and at most 1.")

    def __call__(
        self, image: Image | UInt8[Tensor, "*batch channels height width"]
    ) -> Float[Tensor, "*batch channels out_height out_width"]:
        """The image, or batch of images, as the model takes it: float32, normalised."""
        if isinstance(image, Image):
            image = TF.pil_to_tensor(image.convert("L" if len(self.mean) == 1 else "RGB"))
        if image.dtype != torch.uint8:
            raise ValueError(f"Preprocessing takes uint8 pixels (0 to 255), not {image.dtype}.")
        height, width = image.shape[-2:]
        ratio = max(wanted / self.crop / have for wanted, have in zip(self.image_size, (height, width), strict=True))
        scaled = [max(wanted, int(have * ratio)) for wanted, have in zip(self.image_size, (height, width), strict=True)]
        if self.interpolation == "lanczos" or scaled != [height, width]:
            image = TF.resize(image, scaled, InterpolationMode(self.interpolation), antialias=True)
        return self.normalise(TF.center_crop(image, list(self.image_size)))

    def normalise(
        self, image: UInt8[Tensor, "*batch channels height width"]
    ) -> Float[Tensor, "*batch channels height width"]:
        """uint8 pixels of the right size to float32, normalised, on whatever device they are."""
        mean = torch.tensor(self.mean, device=image.device)[:, None, None] * 255
        std = torch.tensor(self.std, device=image.device)[:, None, None] * 255
        return (image - mean) / std

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocess":
        """The inverse of `to_dict`. Raises TypeError for an unknown key."""
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**plain)
