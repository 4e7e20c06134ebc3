import copy
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from triptych.build import MODEL_PACKAGES, build
from triptych.checkpoints.format import write_checkpoint
from triptych.checkpoints.io import FolderCheckpointIO
from triptych.checkpoints.load import export, load
from triptych.errors import UserError

CONFIG: dict[str, Any] = {
    "_target_": "triptych.models.classifier.Classifier",
    "num_classes": 3,
    "tower": {
        "_target_": "triptych.towers.vision.VisionTower",
        "image_size": 8,
        "dim": 8,
        "depth": 1,
        "patch": {"_target_": "triptych.nn.patch.PatchEmbedding", "_partial_": True, "patch_size": 4},
        "mixer": {"_target_": "triptych.nn.mixers.softmax.SoftmaxMixer", "_partial_": True, "heads": 2},
        "feedforward": {"_target_": "triptych.nn.feedforward.GELUFeedForward", "_partial_": True},
        "norm": {"_target_": "triptych.nn.norm.LayerNorm", "_partial_": True},
        "position": {"_target_": "triptych.nn.position.LearnedPosition", "_partial_": True},
        "pool": {"_target_": "triptych.nn.pool.MeanPool", "_partial_": True},
    },
}
IMAGES = torch.rand(2, 3, 8, 8)


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    return build(copy.deepcopy(CONFIG), MODEL_PACKAGES).eval()


@pytest.fixture
def run(tmp_path: Path, model: Any) -> Path:
    """A run whose last (step 2) has an EMA and whose best (step 1) has none."""
    store = tmp_path / "run" / "checkpoints"
    config = {"model": CONFIG, "classes": ["a", "b", "c"], "preprocess": model.preprocess.to_dict()}
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    write_checkpoint(store / "step_0000001", {"state_dict": state, "triptych": {"config": config}})
    averaged = {name: tensor * 0.5 for name, tensor in model.state_dict().items()}
    write_checkpoint(store / "step_0000002", {"state_dict": state, "ema": averaged, "triptych": {"config": config}})
    (store / "best").symlink_to("step_0000001")
    (store / "last").symlink_to("step_0000002")
    return store.parent


def test_a_model_comes_back_from_every_name_of_its_checkpoint(run: Path, model: Any) -> None:
    for path in (run, run / "checkpoints", run / "checkpoints" / "best", run / "checkpoints" / "step_0000001"):
        back: Any = load(path)
        assert torch.equal(back(IMAGES), model(IMAGES))
        assert back.preprocess == model.preprocess
        assert back.config["classes"] == ["a", "b", "c"]
        assert not back.training


def test_the_average_is_taken_where_there_is_one_unless_told_otherwise(run: Path, model: Any) -> None:
    last = run / "checkpoints" / "last"
    assert torch.equal(load(last).state_dict()["head.weight"], model.head.weight * 0.5)
    assert torch.equal(load(last, weights="raw").state_dict()["head.weight"], model.head.weight)
    with pytest.raises(UserError, match="weights is 'avg'; expected 'ema' or 'raw'"):
        load(last, weights="avg")


def test_a_new_head_keeps_the_tower(run: Path, model: Any) -> None:
    back: Any = load(run, num_classes=5)
    assert back(IMAGES).shape == (2, 5)
    assert torch.equal(back.embed(IMAGES), model.embed(IMAGES))
    assert back.config["model"]["num_classes"] == 5
    assert "classes" not in back.config


def test_what_is_exported_loads_again(run: Path, tmp_path: Path) -> None:
    first: Any = load(run, num_classes=4)
    export(first, tmp_path / "exported")
    assert torch.equal(load(tmp_path / "exported")(IMAGES), first(IMAGES))
    with pytest.raises(UserError, match="exists already"):
        export(first, tmp_path / "exported")
    with pytest.raises(UserError, match="format is 'gguf'"):
        export(first, tmp_path / "other", format="gguf")
    with pytest.raises(UserError, match="does not know its config"):
        export(torch.nn.Linear(1, 1), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_model_exported_for_timm_loads_again(run: Path, tmp_path: Path, model: Any) -> None:
    export(load(run), tmp_path / "timm", format="timm")
    torch.testing.assert_close(load(tmp_path / "timm")(IMAGES), model(IMAGES), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "target", ["os.system", "torch.os.system", "subprocess.run", "triptych.checkpoints.load.export"]
)
def test_a_config_that_names_code_is_refused(tmp_path: Path, target: str) -> None:
    canary = tmp_path / "canary"
    config = {"model": {"_target_": target, "_args_": [f"touch {canary}"]}}
    write_checkpoint(tmp_path / "evil", {"state_dict": {}, "triptych": {"config": config}})
    with pytest.raises(UserError, match=f"{target}, which is not allowed"):
        load(tmp_path / "evil")
    assert not canary.exists()


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["weights.ckpt", "weights.pt", "pytorch_model.bin", "anything"])
@pytest.mark.parametrize("beside", [None, "config.json"])
def test_a_pickle_never_runs(tmp_path: Path, name: str, beside: str | None) -> None:
    canary = tmp_path / "canary"
    torch.save({"state_dict": Canary(canary)}, tmp_path / name)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Canary(canary), protocol=2))
    if beside:
        (tmp_path / beside).write_text('{"architecture": "vit_tiny_patch16_224", "num_classes": 10}')
    for path in (tmp_path / name, tmp_path / "plain.pkl", tmp_path):
        with pytest.raises(UserError):
            load(path)
        with pytest.raises(UserError):
            FolderCheckpointIO().load_checkpoint(path)
    assert not canary.exists()


def test_weights_that_do_not_fit_are_named(tmp_path: Path, model: Any) -> None:
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    state["model.extra"] = state.pop("model.head.bias")
    state["model.head.weight"] = torch.zeros(9, 9)
    write_checkpoint(tmp_path / "odd", {"state_dict": state, "triptych": {"config": {"model": CONFIG}}})
    with pytest.raises(
        UserError, match=r"missing \['head.bias'\], unexpected \['extra'\], of another shape \['head.weight'\]"
    ):
        load(tmp_path / "odd")


def test_wrong_paths_get_one_message(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ran does not exist; did you mean .*/run\?"):
        load(tmp_path / "ran")
    with pytest.raises(UserError, match="nor does its folder"):
        load(tmp_path / "no" / "where")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"a folder with nothing in it; triptych\.load reads"):
        load(tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"a file of 5 bytes; triptych\.load reads a Triptych run directory"):
        load(tmp_path / "notes.txt")
    write_checkpoint(tmp_path / "nameless", {"state_dict": {}})
    with pytest.raises(UserError, match=r"its config\.json has no 'model'"):
        load(tmp_path / "nameless")
