"""What a vision model wants of its input: the settings that travel with its weights."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from triptych.features.mixed_images import MixedImages
from triptych.features.native_size import NativeSize

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
MODES = ("center", "squash", "border")


@dataclass(frozen=True)
class Preprocess:
    """Resize, cut to ``image_size`` (height, width, pixels), scale to 0..1, normalise each channel by ``mean`` and
    ``std`` (in 0..1). Callable on a PIL image or a uint8 tensor.

    Resizing follows timm's evaluation transform, in three modes. "center": keep proportions, cover ``image_size /
    crop``, cut out the centre. "squash": stretch to ``image_size / crop``, cut out the centre. "border": keep
    proportions, fit into ``image_size / crop``, pad with the mean.

    With ``native``, each image keeps a size of its own instead: its central part, ``crop`` of each side, is brought to
    what `NativeSize` says. ``image_size`` is then the one that the model's positions were built for, and ``mode`` plays
    no part.
    """

    image_size: tuple[int, int]
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: str = "bicubic"
    crop: float = 0.9
    mode: str = "center"
    native: NativeSize | None = None

    def __post_init__(self) -> None:
        # Lists and dictionaries come from configs and JSON.
        if isinstance(self.native, Mapping):
            object.__setattr__(self, "native", NativeSize(**self.native))
        for name in ("image_size", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, value, allowed in (
            ("interpolation", self.interpolation, INTERPOLATIONS),
            ("mode", self.mode, MODES),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}.")
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} channels and std {len(self.std)}; they must agree.")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop is {self.crop}; it must be above 0 and at most 1.")

    def __call__(
        self, image: Image | UInt8[Tensor, "*batch channels height width"]
    ) -> Float[Tensor, "*batch channels out_height out_width"]:
        """The image, or batch of images, as the model takes it: float32, normalised."""
        if isinstance(image, Image):
            image = image.convert("L" if len(self.mean) == 1 else "RGB")
        return self.normalise(self.cut(image))

    def cut(
        self, image: Image | UInt8[Tensor, "*batch channels height width"]
    ) -> UInt8[Tensor, "*batch channels out_height out_width"]:
        """The image, or batch of images, resized and cut to ``image_size``, or to its native size, not yet normalised.

        Raises ValueError for a tensor that is not uint8.
        """
        if isinstance(image, Image):
            have = (image.height, image.width)
        else:
            if image.dtype != torch.uint8:
                raise ValueError(f"Preprocessing takes uint8 pixels (0 to 255), not {image.dtype}.")
            have = (image.shape[-2], image.shape[-1])
        # A PIL image is resized by PIL and a tensor by torchvision, which differ in the last digit, as they do in timm.
        pixels: Any = image
        if self.native is not None:
            cut = cut_native(pixels, self.native, self.crop, InterpolationMode(self.interpolation))
            return TF.pil_to_tensor(cut) if isinstance(cut, Image) else cut
        cut = TF.resize(pixels, self._resized(have), InterpolationMode(self.interpolation), antialias=True)
        if self.mode == "border":
            cut = self._pad(cut)
        cut = TF.center_crop(cut, list(self.image_size))
        return TF.pil_to_tensor(cut) if isinstance(cut, Image) else cut

    def _resized(self, have: tuple[int, int]) -> list[int]:
        wanted = [math.floor(size / self.crop) for size in self.image_size]
        if self.mode == "squash":
            return wanted
        if self.mode == "center" and wanted[0] == wanted[1]:
            # torchvision's shorter-side rule, which cuts where the other branch rounds.
            short = min(have)
            return [wanted[0] if size == short else int(wanted[0] * size / short) for size in have]
        ratios = [size / target for size, target in zip(have, wanted, strict=True)]
        ratio = max(ratios) if self.mode == "border" else min(ratios)
        return [max(1, round(size / ratio)) for size in have]

    def _pad(self, image: Any) -> Any:
        height, width = TF.get_size(image)
        down, right = max(0, self.image_size[0] - height), max(0, self.image_size[1] - width)
        fill = [float(round(255 * value)) for value in self.mean]
        return TF.pad(image, [right // 2, down // 2, right - right // 2, down - down // 2], fill=fill)

    def batch(self, images: Sequence[UInt8[Tensor, "channels _ _"]]) -> Tensor | MixedImages:
        """What `cut` gave for some images as the batch that a model takes."""
        return torch.stack(list(images)) if self.native is None else MixedImages.of(images, self.native)

    def normalise(self, image: Any) -> Any:
        """uint8 pixels ``(*batch, channels, height, width)`` of the right size, or `MixedImages`, to float32,
        normalised, on whatever device they are.
        """
        if isinstance(image, MixedImages):
            return image.map(self.normalise)
        mean = torch.tensor(self.mean, device=image.device)[:, None, None] * 255
        std = torch.tensor(self.std, device=image.device)[:, None, None] * 255
        return (image - mean) / std

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = {key: _plain(value) for key, value in asdict(self).items()}
        if self.native is None:
            del values["native"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocess":
        """The inverse of `to_dict`. Raises TypeError for an unknown key."""
        return cls(**values)


def cut_native(
    image: Any, native: NativeSize, crop: float, interpolation: InterpolationMode, draw: float | None = None
) -> Any:
    """The central part of a PIL image or a tensor, ``crop`` of each side, resized to what `NativeSize.fit` says."""
    height, width = TF.get_size(image)
    if crop < 1:
        height, width = max(1, round(height * crop)), max(1, round(width * crop))
        image = TF.center_crop(image, [height, width])
    return TF.resize(image, list(native.fit(height, width, draw)), interpolation, antialias=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return list(value) if isinstance(value, tuple) else value
