"""Pixels as a model takes them."""

import pytest
import torch

from triptych.errors import UserError
from triptych.features.mixed_images import MixedImages
from triptych.features.native_size import NativeSize
from triptych.features.pixels import Pixels

MEAN, STD = [0.1, 0.5, 0.9], [0.2, 0.3, 0.4]


def test_normalising_is_subtracting_the_mean_and_dividing_by_the_deviation() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(2, 3, 1, 1)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    pixels = Pixels(MEAN, STD)
    torch.testing.assert_close(pixels(images), (images / 255 - mean) / std, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(pixels.undo(pixels(images)), images / 255, rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="images have 1 channels, but mean and std are given for 3"):
        pixels(images[:, :1])


def test_images_of_mixed_sizes_are_normalised_as_each_alone() -> None:
    images = [torch.randint(0, 256, (3, height, 8), dtype=torch.uint8) for height in (4, 12, 8)]
    pixels = Pixels(MEAN, STD)
    for mixed, image in zip(pixels(MixedImages.of(images, NativeSize(4))), images, strict=True):
        torch.testing.assert_close(mixed, pixels(image[None])[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [([0.5], STD, r"mean is \[0.5\] and std"), (MEAN, [0.5, 0.5, 0.0], "std above 0")],
)
def test_settings_that_contradict_are_refused(mean: list[float], std: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Pixels(mean, std)
