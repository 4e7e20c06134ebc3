"""What a model wants of its input, against timm's evaluation transform."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform

from triptych.features.preprocess import Preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(24, 24), (16, 40)])
@pytest.mark.parametrize("shape", [(50, 37), (37, 50), (24, 24), (10, 90)])
def test_equals_timm_on_pil_images(mode: str, size: tuple[int, int], shape: tuple[int, int]) -> None:
    ours = Preprocess(size, MEAN, STD, "bicubic", 0.875, mode)
    theirs = create_transform((3, *size), mean=MEAN, std=STD, interpolation="bicubic", crop_pct=0.875, crop_mode=mode)
    image = picture(*shape)
    assert callable(theirs)
    expected = theirs(image)
    assert isinstance(expected, torch.Tensor)
    torch.testing.assert_close(ours(image), expected, rtol=1e-5, atol=1e-5)


def test_tensors_and_batches_are_close_to_pil() -> None:
    ours = Preprocess((24, 24), MEAN, STD)
    image = picture(50, 37)
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
    one, batch = ours(pixels), ours(pixels.expand(2, -1, -1, -1))
    assert batch.shape == (2, 3, 24, 24)
    torch.testing.assert_close(batch[0], one)
    assert (one - ours(image)).abs().max() < 0.05


def test_travels_as_json() -> None:
    ours = Preprocess((24, 16), MEAN, STD, "bilinear", 1.0, "squash")
    assert Preprocess.from_dict(json.loads(json.dumps(ours.to_dict()))) == ours


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match=r"'cubic'.*bicubic"):
        Preprocess((8, 8), interpolation="cubic")
    with pytest.raises(ValueError, match="mean has 3 channels and std 1"):
        Preprocess((8, 8), std=(1.0,))
    with pytest.raises(ValueError, match="crop is 0"):
        Preprocess((8, 8), crop=0)
    with pytest.raises(ValueError, match="mode is 'fit'"):
        Preprocess((8, 8), mode="fit")
