"""Patches of another size: the same weights as timm's, and FlexiViT's own property."""

import pytest
import torch
from timm.layers.patch_embed import resample_patch_embed
from torch.nn import functional as F

from triptych.nn.patch import resample_patches

SIZES = [((8, 8), (16, 16)), ((16, 16), (8, 8)), ((16, 16), (14, 14)), ((8, 12), (10, 9)), ((4, 4), (4, 4))]


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_weights_are_timms(old: tuple[int, int], new: tuple[int, int]) -> None:
    weight = torch.randn(5, 3, *old)
    expected = resample_patch_embed(weight, list(new)).flatten(1)
    torch.testing.assert_close(resample_patches(weight.flatten(1), old, new), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("old", "new"), [sizes for sizes in SIZES if sizes[1][0] >= sizes[0][0] and sizes[1][1] >= sizes[0][1]]
)
def test_a_patch_and_its_enlarged_picture_give_the_same_token(old: tuple[int, int], new: tuple[int, int]) -> None:
    weight, patch = torch.randn(5, 2, *old), torch.randn(1, 2, *old)
    larger = F.interpolate(patch, size=new, mode="bicubic", antialias=True)
    token = patch.flatten(1) @ weight.flatten(1).T
    torch.testing.assert_close(
        larger.flatten(1) @ resample_patches(weight.flatten(1), old, new).T, token, rtol=1e-3, atol=1e-3
    )


def test_the_type_is_kept() -> None:
    assert resample_patches(torch.randn(2, 16, dtype=torch.bfloat16), (4, 4), (8, 8)).dtype == torch.bfloat16
