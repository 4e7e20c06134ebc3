"""Presets give uint8 images of the model's size, do what they say, and draw from torch's generator alone."""

import random
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from triptych.data.transforms import CentreCrop, PadCrop, RandAugment, RandomResizedCrop, ThreeAugment, Transform
from triptych.errors import UserError
from triptych.features.preprocess import Preprocess

PRESETS: dict[str, Callable[[tuple[int, int]], Transform]] = {
    "none": CentreCrop,
    "none 0.875": partial(CentreCrop, crop_fraction=0.875, interpolation="bicubic"),
    "light": RandomResizedCrop,
    "pad": PadCrop,
    "randaugment": lambda size: RandAugment(RandomResizedCrop(size)),
    "three_augment": lambda size: ThreeAugment(RandomResizedCrop(size)),
}


def image(channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (channels, height, width), dtype=torch.uint8, generator=generator)


@settings(max_examples=80, deadline=None)
@given(
    preset=st.sampled_from(sorted(PRESETS)),
    source=st.tuples(st.sampled_from([1, 3]), st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(4, 24), st.integers(4, 24)),
    seed=st.integers(0, 1000),
)
def test_size_and_type(preset: str, source: tuple[int, int, int], size: tuple[int, int], seed: int) -> None:
    torch.manual_seed(seed)
    original = image(*source)
    kept = original.clone()
    result = PRESETS[preset](size)(original)
    assert result.shape == (source[0], *size)
    assert result.dtype == torch.uint8
    assert torch.equal(original, kept), "cached images are shared: a transform must not write to them"


@settings(max_examples=60, deadline=None)
@given(
    source=st.tuples(st.sampled_from([1, 3]), st.integers(1, 60), st.integers(1, 60)),
    size=st.tuples(st.integers(4, 24), st.integers(4, 24)),
    crop=st.sampled_from([1.0, 0.95, 0.875, 0.5]),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic"]),
)
def test_validation_sees_what_the_trained_model_is_used_with(
    source: tuple[int, int, int], size: tuple[int, int], crop: float, interpolation: str
) -> None:
    pixels = image(*source)
    used = Preprocess(size, interpolation=interpolation, crop=crop).cut(pixels)
    assert torch.equal(CentreCrop(size, crop, interpolation)(pixels), used)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_generator_decides_everything(preset: str) -> None:
    transform = PRESETS[preset]((16, 16))
    results = []
    for noise in range(3):
        random.seed(noise)
        np.random.seed(noise)
        torch.manual_seed(7)
        results.append(torch.stack([transform(image(3, 20, 24, seed)) for seed in range(20)]))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("preset", ["light", "pad", "randaugment", "three_augment"])
def test_augmentation_varies(preset: str) -> None:
    transform = PRESETS[preset]((16, 16))
    torch.manual_seed(0)
    assert len({transform(image(3, 20, 20)).numpy().tobytes() for _ in range(30)}) >= 15


def test_centre_crop_leaves_an_image_of_its_size_alone() -> None:
    original = image(3, 16, 16)
    assert torch.equal(CentreCrop(16)(original), original)


def test_crop_fraction_cuts_the_border_away() -> None:
    framed = torch.zeros(3, 64, 64, dtype=torch.uint8)
    framed[:, 8:-8, 8:-8] = 200
    assert CentreCrop(32, crop_fraction=0.5)(framed).unique().tolist() == [200]
    assert CentreCrop(32)(framed).unique().numel() > 1


def test_centre_crop_keeps_the_aspect() -> None:
    wide = torch.zeros(1, 10, 30, dtype=torch.uint8)
    wide[:, :, 10:20] = 255
    assert CentreCrop(10)(wide).unique().tolist() == [255]


@pytest.mark.parametrize(("flip", "mirrored"), [(0.0, 0), (1.0, 40), (0.5, None)])
def test_flip_is_horizontal_and_as_likely_as_asked(flip: float, mirrored: int | None) -> None:
    original = image(3, 12, 12)
    torch.manual_seed(0)
    light = RandomResizedCrop(12, scale=(1, 1), ratio=(1, 1), flip=flip)
    pad = PadCrop(12, padding=0, flip=flip)
    for transform in (light, pad):
        results = [transform(original) for _ in range(40)]
        flipped = sum(torch.equal(result, F.horizontal_flip(original)) for result in results)
        assert flipped + sum(torch.equal(result, original) for result in results) == 40
        assert flipped == mirrored if mirrored is not None else 8 < flipped < 32


def test_scale_bounds_the_area_that_is_kept() -> None:
    place = torch.arange(100, dtype=torch.uint8).reshape(1, 10, 10)
    torch.manual_seed(0)
    transform = RandomResizedCrop(40, scale=(0.25, 0.25), ratio=(1, 1), flip=0, interpolation="nearest")
    seen = [transform(place).unique().numel() for _ in range(20)]
    assert set(seen) == {25}


def test_every_place_of_a_crop_is_drawn() -> None:
    place = torch.arange(25, dtype=torch.uint8).reshape(1, 5, 5)
    torch.manual_seed(0)
    corners = {int(RandomResizedCrop(4, scale=(0.64, 0.64), ratio=(1, 1), flip=0)(place)[0, 0, 0]) for _ in range(60)}
    assert corners == {0, 1, 5, 6}
    moved = {int(PadCrop(5, padding=1, flip=0, fill=255)(place)[0, 2, 2]) for _ in range(120)}
    assert moved == {6, 7, 8, 11, 12, 13, 16, 17, 18}


def test_three_augment_draws_each_of_its_three() -> None:
    torch.manual_seed(0)
    original = image(3, 16, 16)
    transform = ThreeAugment(CentreCrop(16), color_jitter=0.0)
    kinds = {"grey": 0, "solarised": 0, "blurred": 0}
    for _ in range(90):
        result = transform(original)
        if torch.equal(result[0], result[1]):
            kinds["grey"] += 1
        elif torch.equal(result, F.solarize(original, 128.0)):
            kinds["solarised"] += 1
        else:
            kinds["blurred"] += 1
            assert result.float().std() < original.float().std() + 1
    assert min(kinds.values()) > 15


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CentreCrop(0), "image_size is 0"),
        (lambda: CentreCrop(8, crop_fraction=0), "crop_fraction is 0"),
        (lambda: CentreCrop(8, interpolation="bilinar"), "did you mean 'bilinear'"),
        (lambda: RandomResizedCrop(8, scale=(0.5, 1.5)), r"scale is \[0.5, 1.5\]"),
        (lambda: RandomResizedCrop(8, ratio=(2, 1)), r"ratio is \[2, 1\]"),
        (lambda: RandomResizedCrop(8, flip=2), "flip is 2"),
        (lambda: PadCrop(8, padding=-1), "padding is -1"),
        (lambda: PadCrop(8, fill=256), "fill is 256"),
        (lambda: RandAugment(CentreCrop(8), magnitude=31), "magnitude is 31"),
        (lambda: RandAugment(CentreCrop(8), operations=0), "operations is 0"),
        (lambda: ThreeAugment(CentreCrop(8), color_jitter=2), "color_jitter is 2"),
        (lambda: ThreeAugment(CentreCrop(8), sigma=(2, 1)), r"sigma is \[2, 1\]"),
    ],
)
def test_settings_out_of_range_are_told(make: Callable[[], Transform], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
