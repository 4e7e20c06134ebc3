"""A trained model at another image or patch size, for good."""

from pathlib import Path
from typing import Any

import pytest
import torch

import triptych
from triptych.checkpoints.resize import resized
from triptych.errors import UserError

SMALL = {"tower.image_size": 32, "tower.patch.patch_size": 8, "tower.dim": 24, "tower.depth": 2, "tower.mixer.heads": 2}


def model_with(**parts: Any) -> Any:
    model = triptych.create("vit_tiny_patch16_224", num_classes=3, overrides={**SMALL, **parts})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


POSITIONS: dict[str, dict[str, Any]] = {
    "learned": {"tower/position": "learned"},
    "learned, DINOv2's way": {"tower.position.antialias": False, "tower.position.offset": 0.1},
    "sinusoidal": {"tower/position": "sinusoidal"},
    "rotary": {"tower/position": "rotary"},
    "EVA-02's": {"tower/position": "learned_rotary", "tower/position/coordinates": "corner_aligned"},
    "DINOv3's": {"tower/position": "rotary", "tower/position/coordinates": "unit_centred"},
}


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("size", [64, (24, 56)])
def test_another_image_size_changes_nothing_but_what_is_native(position: str, size: Any, tmp_path: Path) -> None:
    """The tower resamples positions for each batch as `resized` does once, so both give the same there."""
    model = model_with(**POSITIONS[position])
    images = torch.randn(2, 3, *(size if isinstance(size, tuple) else (size, size)))
    new: Any = resized(model, image_size=size)
    torch.testing.assert_close(new(images), model(images), rtol=1e-4, atol=1e-5)
    assert new.tower.image_size == new.preprocess.image_size == tuple(images.shape[2:])
    assert model.tower.image_size == (32, 32)
    triptych.export(new, tmp_path / "new")
    assert torch.equal(triptych.load(tmp_path / "new")(images), new(images))


@pytest.mark.parametrize("position", POSITIONS)
def test_patches_and_images_twice_as_large_give_the_same_logits(position: str, tmp_path: Path) -> None:
    model = model_with(**POSITIONS[position])
    images = torch.randn(2, 3, 32, 32)
    # Each patch is enlarged by itself, as the weights are resampled for.
    patches = model.tower.patch.cut(images)[0].view(2 * 16 * 3, 1, 8, 8)
    larger = torch.nn.functional.interpolate(patches, size=(16, 16), mode="bicubic", antialias=True)
    larger = larger.view(2, 4, 4, 3, 16, 16).permute(0, 3, 1, 4, 2, 5).reshape(2, 3, 64, 64)
    triptych.export(model, tmp_path / "saved")
    new: Any = triptych.load(tmp_path / "saved", patch_size=16, image_size=64)
    torch.testing.assert_close(new(larger), model(images), rtol=1e-3, atol=1e-4)
    assert new.config["model"]["tower"]["patch"]["patch_size"] == [16, 16]


def test_what_cannot_be_resized_is_told() -> None:
    with pytest.raises(UserError, match="30 x 30 pixels is not covered exactly by patches of 8 x 8"):
        resized(model_with(), image_size=30)
    with pytest.raises(UserError, match="not this Linear"):
        resized(torch.nn.Linear(2, 2), image_size=30)
    with pytest.raises(UserError, match=r"patches overlap \(stride \(4, 4\)\)"):
        resized(model_with(**{"tower.patch.stride": 4}), patch_size=16)
