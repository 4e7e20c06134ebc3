"""Recognising timm's folders, and telling what is wrong with one. That the numbers are right is in tests/parity."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.models._hub import save_for_hf

from triptych.build import MODEL_PACKAGES, build
from triptych.checkpoints.timm import is_timm, load_timm, read, save_timm
from triptych.errors import UserError
from triptych.features.preprocess import Preprocess
from triptych.models.classifier import Classifier
from triptych.nn.coordinates import unscaled
from triptych.nn.feedforward import GeGLUFeedForward, GELUFeedForward, QuickGELUFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm, RMSNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import AttentionPool, ClassMeanPool, DistilledPool, MeanPool
from triptych.nn.position import LearnedPosition, RotaryPosition
from triptych.towers.vision import VisionTower

SMALL: dict[str, Any] = {"embed_dim": 32, "depth": 1, "num_heads": 2, "img_size": 16, "patch_size": 8, "num_classes": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(tmp_path / "timm", "vit_tiny_patch16_224", safe_serialization=True)


def saved(folder: Path, name: str, safe_serialization: Any = False, **settings: Any) -> Path:
    save_for_hf(timm.create_model(name, **{**SMALL, **settings}), str(folder), safe_serialization=safe_serialization)
    return folder


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def ours(**parts: Any) -> Classifier:
    settings: dict[str, Any] = {
        "image_size": (8, 16), "dim": 24, "depth": 2, "patch": partial(PatchEmbedding, patch_size=4),
        "mixer": partial(SoftmaxMixer, heads=2), "feedforward": partial(GELUFeedForward, hidden_dim=37),
        "norm": LayerNorm, "position": LearnedPosition, "pool": MeanPool,
    }  # fmt: skip
    return Classifier(
        VisionTower(**{**settings, **parts}), 3, Preprocess((8, 16), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), crop=0.8)
    )


def test_recognises_folder_and_file_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    assert is_timm(folder)
    assert is_timm(folder / "model.safetensors")
    assert not is_timm(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["ViTModel"]}')
    assert not is_timm(tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert not is_timm(tmp_path)


def test_pickled_weights_and_a_file_as_path_read_the_same(tmp_path: Path) -> None:
    folder = saved(tmp_path / "both", "vit_tiny_patch16_224", safe_serialization="both")
    states = [read(path)[1] for path in (folder, folder / "model.safetensors", folder / "pytorch_model.bin")]
    for state in states[1:]:
        assert all(torch.equal(state[key], states[0][key]) for key in states[0])


def test_a_pickle_with_code_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"x": Path("/")}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin is refused: reading it would run code"):
        load_timm(folder)


def test_damaged_or_missing_weights_are_told(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read"):
        load_timm(folder)
    path.unlink()
    with pytest.raises(UserError, match=r"no weights; expected model\.safetensors or pytorch_model\.bin"):
        load_timm(folder)


def test_preprocessing_and_config_travel(tmp_path: Path) -> None:
    model = timm.create_model("vit_tiny_patch16_224", **SMALL)
    data = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "crop_pct": 0.75, "interpolation": "bilinear"}
    save_for_hf(model, str(tmp_path), data_config=data)
    loaded = load_timm(tmp_path)
    assert loaded.preprocess == Preprocess((16, 16), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear", 0.75)
    assert not loaded.training
    assert loaded.config is not None
    json.dumps(loaded.config)
    rebuilt: Any = build(loaded.config["model"], MODEL_PACKAGES)
    assert rebuilt.load_state_dict(loaded.state_dict()).missing_keys == []


def test_our_own_model_reaches_timm(tmp_path: Path) -> None:
    model: Any = ours()
    torch.nn.init.normal_(model.head.weight)
    save_timm(model.eval(), tmp_path / "out")
    theirs = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    images = torch.randn(2, 3, 8, 16)
    with torch.no_grad():
        torch.testing.assert_close(theirs(images), model(images), rtol=1e-4, atol=1e-5)
    assert resolve_model_data_config(theirs)["mean"] == [0.1, 0.2, 0.3]
    again = load_timm(tmp_path / "out")
    assert again.preprocess == model.preprocess
    assert torch.equal(again(images), model(images))
    with pytest.raises(UserError, match="out"):
        save_timm(model, tmp_path / "out")


def test_a_part_that_timm_lacks_is_named_and_nothing_written(tmp_path: Path) -> None:
    rotary = {"mixer": partial(SoftmaxMixer, heads=6), "position": partial(RotaryPosition, coordinates=unscaled)}
    for parts, told in (
        ({**rotary, "position": RotaryPosition}, "RotaryPosition with centre_aligned coordinates"),
        ({**rotary, "pool": partial(AttentionPool, heads=2)}, "AttentionPool beside rotary positions"),
        ({**rotary, "norm": RMSNorm}, "norm other than LayerNorm"),
        ({**rotary, "feedforward": QuickGELUFeedForward}, "QuickGELUFeedForward beside rotary positions"),
        ({**rotary, "norm": partial(LayerNorm, eps=1e-3)}, r"norms with eps \['0.001'\]"),
        ({"pool": DistilledPool, "registers": 2}, "distillation token without a head of its own"),
        ({"feedforward": GeGLUFeedForward}, "GeGLUFeedForward"),
        ({"pool": ClassMeanPool}, "ClassMeanPool"),
        ({"mixer": partial(SoftmaxMixer, heads=2, kv_heads=1)}, "key-value heads"),
        ({"norm": partial(LayerNorm, eps=1e-5)}, "eps"),
        ({"patch": partial(PatchEmbedding, patch_size=4, stride=2)}, "overlap"),
    ):
        with pytest.raises(UserError, match=told):
            save_timm(ours(**parts), tmp_path / "out")
    with pytest.raises(UserError, match="not a Linear"):
        save_timm(torch.nn.Linear(2, 2), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_new_head(folder: Path, tmp_path: Path) -> None:
    assert load_timm(folder, num_classes=9).num_classes == 9
    headless = saved(tmp_path / "headless", "vit_tiny_patch16_224", num_classes=0)
    bare = load_timm(headless)
    assert bare.num_classes == 0
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(bare(images), bare.embed(images))
    with pytest.raises(UserError, match="exists already"):
        save_timm(bare, headless)
    save_timm(bare, tmp_path / "bare")
    assert timm.create_model(f"local-dir:{tmp_path / 'bare'}", pretrained=True).num_classes == 0
    assert load_timm(headless, num_classes=9)(torch.randn(1, 3, 16, 16)).shape == (1, 9)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"architecture": "resnet50"}, "'resnet50' is no plain ViT"),
        ({"architecture": "vit_small_patch16_rope_mixed_224"}, "of those with rotary positions it reads eva02_"),
        ({"architecture": "vit_small_patch16_rope_224", "model_args": {"rope_type": "mixed"}}, "rope_type='mixed'"),
        ({"architecture": "eva02_base_patch14_224", "model_args": {"use_post_norm": True}}, "use_post_norm"),
        ({"architecture": "vit_base_patch16_rpn_224"}, "no plain ViT"),
        ({"model_args": {**SMALL, "img_size": 24}}, "img_size|positions"),
        ({"model_args": {**SMALL, "global_pool": "max"}}, "global_pool='max'"),
        ({"model_args": {**SMALL, "act_layer": "relu"}}, "act_layer='relu'"),
        ({"model_args": {**SMALL, "scale_attn_norm": True}}, "scale_attn_norm"),
    ],
)
def test_what_is_no_plain_vit_is_refused(folder: Path, changes: dict[str, Any], told: str) -> None:
    edit(folder, **changes)
    if "img_size" in told:
        # A config that misstates the size of a square model is mended from the positions themselves.
        assert load_timm(folder).tower.image_size == (16, 16)
        return
    with pytest.raises(UserError, match=told):
        load_timm(folder)


@pytest.mark.parametrize("name", ["vit_base_patch16_clip_224", "vit_base_patch16_rpn_224", "beit3_base_patch16_224"])
def test_other_architectures_are_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"norm_pre|no plain ViT"):
        load_timm(saved(tmp_path, name))
