"""transformers' folders without that library: what is told of wrong ones, and preprocessing both ways. That the numbers
are right is in tests/parity.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import triptych
from triptych.checkpoints.huggingface import is_huggingface, load_huggingface
from triptych.checkpoints.huggingface_preprocess import complete, preprocess_from, preprocessor_of
from triptych.errors import UserError
from triptych.features.preprocess import Preprocess
from triptych.weights import start_from

SMALL: dict[str, Any] = {
    "tower.image_size": 16, "tower.patch.patch_size": 8, "tower.dim": 16, "tower.depth": 1, "tower.mixer.heads": 2,
}  # fmt: skip


def model_with(preset: str = "vit_tiny_patch16_224", num_classes: int = 3, **overrides: Any) -> Any:
    return triptych.create(preset, num_classes=num_classes, overrides={**SMALL, **overrides}).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    triptych.export(model_with(), tmp_path / "saved", format="huggingface")
    return tmp_path / "saved"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_recognises_folder_and_file_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    assert is_huggingface(folder)
    assert is_huggingface(folder / "model.safetensors")
    assert torch.equal(
        triptych.load(folder / "model.safetensors").state_dict()["head.weight"],
        load_file(folder / "model.safetensors")["classifier.weight"],
    )
    assert not is_huggingface(tmp_path)


def test_the_library_is_not_needed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    triptych.export(triptych.load(folder), tmp_path / "again", format="huggingface")
    assert (tmp_path / "again" / "config.json").read_text() == (folder / "config.json").read_text()


def test_class_names_and_a_new_head(folder: Path, tmp_path: Path) -> None:
    edit(folder / "config.json", id2label={"0": "cat", "1": "dog", "2": "eel"})
    model: Any = triptych.load(folder)
    assert model.config["classes"] == ["cat", "dog", "eel"]
    triptych.export(model, tmp_path / "again", format="huggingface")
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["id2label"] == {"0": "cat", "1": "dog", "2": "eel"}
    assert config["label2id"]["eel"] == 2
    other: Any = triptych.load(folder, num_classes=5)
    assert other(torch.randn(2, 3, 16, 16)).shape == (2, 5)
    assert "classes" not in other.config


def test_training_starts_from_a_bare_model_with_a_new_head(tmp_path: Path) -> None:
    bare = model_with("vit_small_patch14_dinov2", 0, **{"tower.layer_scale": 0.5})
    torch.nn.init.normal_(bare.tower.position.places)
    triptych.export(bare, tmp_path / "bare", format="huggingface")
    model = model_with("vit_small_patch14_dinov2", 3, **{"tower.layer_scale": 0.5})
    assert start_from(model, tmp_path / "bare").new == ["head.weight", "head.bias"]
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(model.embed(images), bare(images))


def test_weights_in_several_files(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    expected: Any = triptych.load(folder)
    (folder / "model.safetensors").unlink()
    halves = [dict(list(state.items())[::2]), dict(list(state.items())[1::2])]
    files = {}
    for number, half in enumerate(halves):
        save_file(half, folder / f"model-{number}.safetensors")
        files |= dict.fromkeys(half, f"model-{number}.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(triptych.load(folder)(images), expected(images))
    (folder / "model-1.safetensors").unlink()
    with pytest.raises(UserError, match=r"index\.json names model-1\.safetensors, which is not beside it"):
        triptych.load(folder)


def test_a_missing_or_strange_weight_is_named(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    whole = dict(state)
    save_file({**state, "vit.encoder.layer.0.adapter.weight": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"no place for 1 weights: vit\.encoder\.layer\.0\.adapter\.weight"):
        triptych.load(folder)
    state.pop("vit.encoder.layer.0.attention.attention.key.weight")
    save_file(state, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"attention\.query\.weight' but not .*attention\.key\.weight"):
        triptych.load(folder)
    save_file({**whole, "vit.layernorm.weight": torch.ones(4)}, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"of another shape: tower\.stack\.norm\.weight \(4,\) instead of \(16,\)"):
        triptych.load(folder)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_type": "resnet"}, "model_type='resnet'; Triptych reads vit, deit, dinov2"),
        ({"hidden_act": "relu"}, "hidden_act='relu'; Triptych reads gelu"),
        ({"model_type": "dinov2"}, r"has no weight 'vit\.encoder\.layer\.0\.mlp\.fc1\.weight'"),
        ({"model_type": "siglip"}, r"no weight 'embeddings\.patch_embedding\.weight'"),
    ],
)
def test_what_is_not_read_is_told(folder: Path, changes: dict[str, Any], told: str) -> None:
    edit(folder / "config.json", **changes)
    with pytest.raises(UserError, match=told):
        load_huggingface(folder)


def test_a_text_tower_is_told(folder: Path) -> None:
    edit(folder / "config.json", model_type="siglip")
    save_file({"text_model.embeddings.weight": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(UserError, match="holds a text tower as well"):
        triptych.load(folder)


@pytest.mark.parametrize(
    ("preset", "changes", "told"),
    [
        ("vit_tiny_patch16_224", {"tower/position": "rotary"}, "RotaryPosition"),
        ("vit_tiny_patch16_224", {"tower/norm": "rms_norm"}, "norms other than LayerNorm"),
        ("vit_tiny_patch16_224", {"tower/pool": "mean"}, "MeanPool below a head|norm"),
        ("vit_tiny_patch16_224", {"tower/feedforward": "swiglu"}, "SwiGLUFeedForward"),
        ("vit_tiny_patch16_224", {"tower.registers": 3}, "ClassTokenPool with 3 registers"),
        ("vit_tiny_patch16_224", {"tower.mixer.key_bias": False}, "biases in some of its projections"),
        ("vit_small_patch14_dinov2", {}, r"ClassTokenPool below a head, beside LayerScale \(ClassMeanPool\)"),
        ("vit_base_patch16_siglip_224", {"tower.pool.heads": 2, "tower.feedforward.hidden_dim": 8}, "AttentionPool"),
    ],
)
def test_a_part_that_transformers_lacks_is_named_and_nothing_written(
    preset: str, changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    pool = {"tower.pool.heads": 2} if "siglip" in preset else {}
    with pytest.raises(UserError, match=told):
        triptych.export(model_with(preset, **{**pool, **changes}), tmp_path / "out", format="huggingface")
    with pytest.raises(UserError, match="not a Linear"):
        triptych.export(torch.nn.Linear(2, 2), tmp_path / "out", format="huggingface")
    assert list(tmp_path.iterdir()) == []


@given(
    size=st.integers(8, 700), grown=st.integers(0, 300), mode=st.sampled_from(["center", "squash"]),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
)  # fmt: skip
def test_preprocessing_goes_out_and_comes_back(size: int, grown: int, mode: str, interpolation: str) -> None:
    """The size before the cut is what counts: it is kept to the pixel."""
    settings = preprocessor_of(
        Preprocess((size, size), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), interpolation, size / (size + grown), mode)
    )
    back = Preprocess.from_dict(complete(preprocess_from(settings, Path("x")), (1, 1), 3))
    assert preprocessor_of(back) == settings
    assert (back.image_size, back.mean, back.std) == ((size, size), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (back.interpolation, back.mode) == (interpolation, mode if settings.get("do_center_crop") else "squash")


def test_old_and_odd_settings() -> None:
    where = Path("preprocessor_config.json")
    assert preprocess_from({"size": 224, "resample": 2}, where)["image_size"] == [224, 224]
    old = preprocess_from({"size": 256, "crop_size": 224, "do_center_crop": True, "do_normalize": False}, where)
    assert (old["image_size"], old["crop"], old["mode"], old["mean"]) == ([224, 224], 0.875, "squash", [0.0] * 3)
    for settings, told in (
        ({"do_rescale": False}, "do_rescale=false"),
        ({"resample": 4}, "resample=4"),
        ({"size": {"longest_edge": 3}}, "Triptych reads a number, height and width, or shortest_edge"),
        ({"size": 20, "crop_size": 30, "do_center_crop": True}, "cuts 30 pixels out of 20"),
        ({"size": [20], "do_resize": True}, "size="),
    ):
        with pytest.raises(UserError, match=told):
            preprocess_from(settings, where)
    with pytest.raises(UserError, match="no image processor for mode='border'"):
        preprocessor_of(Preprocess((8, 8), mode="border"))
