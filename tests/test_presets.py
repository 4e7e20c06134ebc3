"""`triptych.create` makes a model from a preset, changed as asked."""

from pathlib import Path
from typing import Any

import pytest
import torch

import triptych
from triptych.errors import UserError

SMALL = {"tower.image_size": [16, 24], "tower.patch.patch_size": 8, "tower.dim": 16, "tower.depth": 1}


def test_created_exported_and_loaded_are_the_same_model(tmp_path) -> None:
    model = triptych.create(
        "vit_tiny_patch16_224", num_classes=5, channels=1, overrides={**SMALL, "tower.mixer.heads": 2}
    )
    images = torch.randn(2, 1, 16, 24)
    assert model(images).shape == (2, 5)
    triptych.export(model, tmp_path / "saved")
    loaded = triptych.load(tmp_path / "saved")
    assert torch.equal(loaded(images), model.eval()(images))


def test_parts_are_chosen_by_name() -> None:
    overrides = {**SMALL, "tower.mixer.heads": 2, "tower/norm": "rms_norm", "tower/pool": "attention"}
    overrides |= {"tower.pool.heads": 2}
    model = triptych.create("vit_tiny_patch16_224", overrides=overrides)
    assert not any("norm.bias" in name for name, _ in model.named_parameters())
    assert model.num_classes == 1000


def test_a_contrastive_model_travels_with_its_tokenizer(tmp_path: Path) -> None:
    captions = ["a cat", "a dog", "a cat"]
    model: Any = triptych.create("clip_nano", overrides={"towers.image.depth": 1}, captions=captions)
    tokens = model.tokenizer(["a cat", "a dog and a cat"])
    images = torch.randn(2, 3, 64, 64)
    triptych.export(model, tmp_path / "saved")
    loaded: Any = triptych.load(tmp_path / "saved")
    model.eval()
    assert torch.equal(loaded.embed("text", *tokens), model.embed("text", *tokens))
    assert torch.equal(loaded.embed("image", images), model.embed("image", images))
    # Ids alone are enough: the end token is known.
    torch.testing.assert_close(loaded.embed("text", tokens.ids), model.embed("text", *tokens))
    assert loaded.tokenizer.words == ["a", "cat", "dog"]
    for ask in (lambda: triptych.load(tmp_path / "saved", num_classes=3), lambda: triptych.create("clip_nano", 3)):
        with pytest.raises(UserError, match="which has no head; leave num_classes out"):
            ask()


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("vit_tiny", {}, "there is no model 'vit_tiny'. Did you mean 'vit_tiny_patch16_224'"),
        ("vit_tiny_patch16_224", {"tower.dimm": 3}, "there is no setting 'model.tower.dimm'. Did you mean"),
        ("vit_tiny_patch16_224", {"tower.dim": "wide"}, "model.tower.dim: Value 'wide'"),
        ("vit_tiny_patch16_224", {"tower.depth": 0}, "tower.depth=0 is out of range: >= 1"),
        ("vit_tiny_patch16_224", {"tower/norm": "rmsnorm"}, "Did you mean 'rms_norm'?"),
        ("vit_tiny_patch16_224", {"tower.mixer.heads": 5}, "dim=192 is no multiple of heads=5"),
    ],
)
def test_mistakes_are_told(preset: str, overrides: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        triptych.create(preset, overrides=overrides)
    assert message in str(error.value)
