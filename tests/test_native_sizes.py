"""Training on images of their own sizes from the command line, stopped and resumed, evaluated and asked."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import triptych
from triptych.checkpoints.onnx import save_onnx
from triptych.command.start import start
from triptych.data.decode import decode_image
from triptych.errors import UserError

pytestmark = pytest.mark.slow

SETTINGS = [
    "data=folder", "data/image_size=native", "data.image_size.max_tokens=12", "data.image_size.sides=[8,20]",
    "data.image_size.max_batch_tokens=30", "data.batch_size=8", "data.mean=[0.5,0.5,0.5]", "data.workers=0",
    "model.tower.image_size=16", "model.tower.patch.patch_size=4", "model.tower.dim=16", "model.tower.depth=2",
    "model.tower.mixer.heads=2", "model.tower.stochastic_depth=0.3", "ema=ema", "trainer.epochs=2",
    "trainer.log_every=1", "logger=null", "trainer.threads=1", "trainer.accelerator=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("native") / "pictures"
    draw = random.Random(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(15):
            size = (draw.randint(5, 40), draw.randint(5, 40))
            Image.frombytes("RGB", size, draw.randbytes(3 * size[0] * size[1])).save(root / name / f"{number}.png")
    return root


def train(pictures: Path, output: Path, *words: str) -> Path:
    assert start("train", [*SETTINGS, f"data.root={pictures}", f"output={output}", "name=native", *words]) == 0
    (run,) = (output / "train" / "native").iterdir()
    return run


def trace(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return {
        f"{part}/{key}": value
        for part in ("model", "ema")
        for key, value in load_file(run / "checkpoints" / "last" / f"{part}.safetensors").items()
    }


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(pictures, tmp_path_factory.mktemp("whole"))


def test_stopped_and_resumed_with_other_workers_is_the_same_run(pictures: Path, run: Path, tmp_path: Path) -> None:
    """The planned steps are those of the whole run: the schedule is the same from the start."""
    words = ["checkpoint.every_steps=3", "trainer.epochs=2"]
    broken = train(pictures, tmp_path, *words, "data.workers=2")
    steps = [
        path for path in (broken / "checkpoints").iterdir() if path.name.startswith("step_") and not path.is_symlink()
    ]
    assert trace(broken) == trace(run)
    middle = next(path for path in sorted(steps) if int(path.name.removeprefix("step_")) < 8)
    (broken / "checkpoints" / "last").unlink()
    (broken / "checkpoints" / "last").symlink_to(middle.name)
    assert start("train", [f"resume={broken}"]) == 0
    assert trace(broken) == trace(run)
    expected, found = weights(run), weights(broken)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_evaluate_and_predict_see_native_sizes(
    pictures: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model: Any = triptych.load(run)
    assert model.preprocess.native.max_tokens == 12
    assert model.preprocess.native.sides is None
    assert start("evaluate", [f"checkpoint={run}", "resamples=0"]) == 0
    (metrics,) = tmp_path.glob("outputs/evaluate/native/*/metrics.json")
    told = json.loads(metrics.read_text())["sets"]["val"]
    assert told["samples"] == 4
    validated = [float(row["val/loss"]) for row in trace(run) if row["val/loss"]]
    assert any(told["metrics"]["log_loss"]["value"] == pytest.approx(loss, abs=1e-5) for loss in validated)
    capsys.readouterr()
    words = [f"checkpoint={run}", f"input={pictures / 'cat'}", "output=-", "batch_size=4", "top=1"]
    assert start("predict", words) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert len(rows) == 15
    with torch.no_grad():
        for row in rows:
            pixels = decode_image(Path(row["file"]).read_bytes(), 3)
            alone = model(model.preprocess(pixels)[None]).softmax(-1).max()
            assert float(row["probability"]) == pytest.approx(float(alone), abs=1e-5)


def test_what_cannot_work_is_told_and_leaves_nothing(
    pictures: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "outputs"
    words = ["data=folder", f"data.root={pictures}", "data/image_size=native", f"output={output}", "logger=null"]
    for changed, told in (
        (["model=timm"], "resnet18 takes images of one size: choose a ViT"),
        (["objective/mix=mixup"], "set objective/mix=null"),
        (["data/augment=none", "data.image_size.sides=[8,9]"], "set data.image_size.sides=null"),
    ):
        assert start("train", [*words, *changed]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert "Traceback" not in error
    assert not list(output.rglob("config.yaml"))
    with pytest.raises(UserError, match="dynamic_size=false makes a graph for one size"):
        save_onnx(triptych.load(run), tmp_path / "graph", dynamic_size=False)
    assert not (tmp_path / "graph").exists()
