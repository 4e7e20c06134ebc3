"""Augmentation presets over torchvision v2: uint8 image in, uint8 image of the model's size (or its own) out.

A transform draws from torch's default generator, as all of torchvision v2 does; the loader seeds that generator for
each sample by (seed, epoch, sample) and puts it back afterwards. So any v2 transform may stand in a preset's place.
Normalisation is no transform: it happens on the device, on whole batches.

The presets call torchvision's kernels and draw few numbers: on a 64-pixel image the dispatch of a v2 class costs more
than its work.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from triptych.data.decode import to_tensor
from triptych.data.files import suggest
from triptych.data.sizes import ImageSize, draw_size, image_shape
from triptych.errors import UserError
from triptych.features.native_size import NativeSize
from triptych.features.preprocess import Preprocess, cut_native

Transform = Callable[[Tensor], Tensor]

INTERPOLATIONS = {
    "nearest": InterpolationMode.NEAREST,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}


def _interpolation(name: str) -> InterpolationMode:
    if name not in INTERPOLATIONS:
        raise UserError(f"interpolation is {name!r}{suggest(name, list(INTERPOLATIONS))}")
    return INTERPOLATIONS[name]


def _probability(name: str, value: float | int) -> float | int:
    if not 0 <= value <= 1:
        raise UserError(f"{name} is {value}; a probability lies between 0 and 1")
    return value


def _pixel_value(fill: int) -> int:
    if not 0 <= fill <= 255:
        raise UserError(f"fill is {fill}; pixel values lie between 0 and 255")
    return fill


class CentreCrop:
    """No augmentation, for evaluation: the whole image is resized so that a central crop has the model's size, by the
    `Preprocess` that the trained model is used with, so that a validation gives the numbers of `triptych evaluate`.

    Args:
        image_size: of the result: one number, height and width, or a `NativeSize`.
        crop_fraction: the crop's part of the resized image (timm's `crop_pct`); 1 keeps the full short side.
        interpolation: `nearest`, `bilinear` or `bicubic`, the last two with antialiasing.
    """

    def __init__(
        self, image_size: ImageSize, crop_fraction: float | int = 1.0, interpolation: str = "bilinear"
    ) -> None:
        if not 0 < crop_fraction <= 1:
            raise UserError(f"crop_fraction is {crop_fraction}; it must lie above 0 and not above 1")
        self.shape = image_shape(image_size)
        self.crop_fraction = crop_fraction
        self.interpolation = _interpolation(interpolation)

    def __call__(
        self, image: UInt8[Tensor, "channels height width"], draw: float | None = None
    ) -> UInt8[Tensor, "channels rows columns"]:
        """The central part of the resized image; for `draw` see `NativeSize.fit`."""
        if isinstance(self.shape, NativeSize):
            return cut_native(image, self.shape, self.crop_fraction, self.interpolation, draw)
        if self.crop_fraction == 1 and image.shape[-2:] == self.shape:
            return image
        size = Preprocess(self.shape, interpolation=self.interpolation.value, crop=self.crop_fraction)
        return size.cut(image)


class RandomResizedCrop:
    """The preset `light`: a random part of the image at random aspect, resized, and perhaps mirrored (Inception crop).

    Args:
        image_size: of the result: one number, height and width, or a `NativeSize` for the part's own proportions.
        scale: least and largest part of the image's area.
        ratio: least and largest width over height of that part; with a `NativeSize`, times those of the whole image.
        flip: probability of a horizontal mirror image; 0 where left and right mean something.
        interpolation: `nearest`, `bilinear` or `bicubic`, the last two with antialiasing.
    """

    def __init__(
        self,
        image_size: ImageSize,
        scale: Sequence[float | int] = (0.35, 1.0),
        ratio: Sequence[float | int] = (3 / 4, 4 / 3),
        flip: float | int = 0.5,
        interpolation: str = "bilinear",
    ) -> None:
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
            raise UserError(f"scale is {list(scale)}; two parts of the area with 0 < least <= largest <= 1 are needed")
        if len(ratio) != 2 or not 0 < ratio[0] <= ratio[1]:
            raise UserError(f"ratio is {list(ratio)}; two ratios with 0 < least <= largest are needed")
        self.shape = image_shape(image_size)
        self.scale = (scale[0], scale[1])
        self.log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
        self.flip = _probability("flip", flip)
        self.interpolation = _interpolation(interpolation)

    def __call__(self, image: UInt8[Tensor, "channels height width"]) -> UInt8[Tensor, "channels rows columns"]:
        """A random part of the image."""
        height, width = image.shape[-2:]
        # One draw for all that is needed: four numbers cost as much as one.
        area_draw, ratio_draw, top_draw, left_draw, flip_draw = torch.rand(5, dtype=torch.float64).tolist()
        area = height * width * (self.scale[0] + area_draw * (self.scale[1] - self.scale[0]))
        ratio = math.exp(self.log_ratio[0] + ratio_draw * (self.log_ratio[1] - self.log_ratio[0]))
        if isinstance(self.shape, NativeSize):
            ratio *= width / height
        # A part that would stick out is cut back to the image: no rejection, so every image costs the same.
        rows = min(max(round(math.sqrt(area / ratio)), 1), height)
        columns = min(max(round(math.sqrt(area * ratio)), 1), width)
        top = int(top_draw * (height - rows + 1))
        left = int(left_draw * (width - columns + 1))
        shape = self.shape
        target = shape.fit(rows, columns, draw_size(shape)) if isinstance(shape, NativeSize) else shape
        image = F.resized_crop_image(
            image, top, left, rows, columns, list(target), interpolation=self.interpolation, antialias=True
        )
        return F.horizontal_flip_image(image) if flip_draw < self.flip else image


class PadCrop:
    """The preset for small images (CIFAR, MNIST): padded, cropped at a random place, and perhaps mirrored.

    Args:
        image_size: of the result: one number, height and width, or a `NativeSize`. Images of another size are
            resized first.
        padding: pixels on each side.
        flip: probability of a horizontal mirror image.
        fill: value of the padding, 0 to 255: the colour of the data's background.
        interpolation: of the resize.
    """

    def __init__(
        self,
        image_size: ImageSize,
        padding: int = 4,
        flip: float | int = 0.5,
        fill: int = 0,
        interpolation: str = "bilinear",
    ) -> None:
        if padding < 0:
            raise UserError(f"padding is {padding}; it must not be negative")
        self.fit = CentreCrop(image_size, interpolation=interpolation)
        self.padding = padding
        self.flip = _probability("flip", flip)
        self.fill = _pixel_value(fill)

    def __call__(self, image: UInt8[Tensor, "channels height width"]) -> UInt8[Tensor, "channels rows columns"]:
        """The image moved by up to `padding` pixels."""
        image = self.fit(image, draw_size(self.fit.shape))
        channels, height, width = image.shape
        top_draw, left_draw, flip_draw = torch.rand(3, dtype=torch.float64).tolist()
        top = int(top_draw * (2 * self.padding + 1))
        left = int(left_draw * (2 * self.padding + 1))
        padded = image.new_full((channels, height + 2 * self.padding, width + 2 * self.padding), self.fill)
        padded[:, self.padding : self.padding + height, self.padding : self.padding + width] = image
        image = padded[:, top : top + height, left : left + width]
        return F.horizontal_flip_image(image) if flip_draw < self.flip else image


class RandAugment:
    """RandAugment (Cubuk et al., 2020), torchvision's, after a crop.

    It runs on PIL images: torchvision's tensor kernels for rotation and shear need twice the time on a CPU.

    Args:
        crop: brings the image to the model's size, such as `RandomResizedCrop`.
        operations: drawn for each image.
        magnitude: of each, 0 to 30.
        fill: value 0 to 255 of what a rotation or a shift uncovers.
    """

    def __init__(self, crop: Transform, operations: int = 2, magnitude: int = 9, fill: int = 128) -> None:
        if operations < 1:
            raise UserError(f"operations is {operations}; it must be at least 1")
        if not 0 <= magnitude <= 30:
            raise UserError(f"magnitude is {magnitude}; it must lie between 0 and 30")
        self.crop = crop
        self.augment = v2.RandAugment(operations, magnitude, fill=_pixel_value(fill))

    def __call__(self, image: UInt8[Tensor, "channels height width"]) -> UInt8[Tensor, "channels rows columns"]:
        """The image cropped and changed by the operations drawn."""
        cropped = self.crop(image)
        pixels = cropped[0] if len(cropped) == 1 else cropped.permute(1, 2, 0)
        changed = self.augment(Image.fromarray(pixels.contiguous().numpy()))
        return to_tensor(changed, channels=len(cropped))


class ThreeAugment:
    """3-Augment of DeiT III (Touvron et al., 2022): after a crop, one of grey, solarise, blur; then colour jitter.

    Args:
        crop: brings the image to the model's size, such as `RandomResizedCrop` or `PadCrop`.
        color_jitter: largest change of brightness, contrast and saturation, as a part.
        sigma: least and largest standard deviation of the blur, in pixels.
    """

    def __init__(
        self, crop: Transform, color_jitter: float | int = 0.3, sigma: Sequence[float | int] = (0.1, 2.0)
    ) -> None:
        if not 0 <= color_jitter <= 1:
            raise UserError(f"color_jitter is {color_jitter}; it must lie between 0 and 1")
        if len(sigma) != 2 or not 0 < sigma[0] <= sigma[1]:
            raise UserError(f"sigma is {list(sigma)}; two numbers with 0 < least <= largest are needed")
        self.crop = crop
        self.color_jitter = color_jitter
        self.sigma = (sigma[0], sigma[1])

    def __call__(self, image: UInt8[Tensor, "channels height width"]) -> UInt8[Tensor, "channels rows columns"]:
        """The image cropped, changed in one of three ways, and jittered."""
        image = self.crop(image)
        choice, strength, *jitter = torch.rand(5, dtype=torch.float64).tolist()
        if choice < 1 / 3:
            image = F.rgb_to_grayscale_image(image, num_output_channels=image.shape[0])
        elif choice < 2 / 3:
            image = F.solarize_image(image, threshold=128.0)
        else:
            sigma = self.sigma[0] + strength * (self.sigma[1] - self.sigma[0])
            # Three standard deviations hold all but 0.3% of the kernel; it must not be wider than reflection allows.
            reach = min(math.ceil(3 * sigma), min(image.shape[-2:]) - 1)
            image = F.gaussian_blur_image(image, [2 * reach + 1, 2 * reach + 1], [sigma, sigma])
        brightness, contrast, saturation = (1 + (2 * draw - 1) * self.color_jitter for draw in jitter)
        # Brightness first: the paper's implementation shuffles the three, whose order hardly shows at these strengths.
        image = F.adjust_brightness_image(image, brightness)
        image = F.adjust_contrast_image(image, contrast)
        return F.adjust_saturation_image(image, saturation)
