"""`triptych attention` and `triptych export`: what they leave, and one message for each mistake."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image

import triptych
from triptych.analysis.class_table import classes_csv
from triptych.analysis.per_class import ClassScore
from triptych.build import build
from triptych.checkpoints.format import write_checkpoint
from triptych.command.start import start
from triptych.features.preprocess import Preprocess
from triptych.models.classifier import Classifier

pytestmark = pytest.mark.slow

CLASSES = ["cat", "dog", "fox | <b>"]
TOWER = {
    "_target_": "triptych.towers.vision.VisionTower", "image_size": 16, "dim": 8, "depth": 2,
    "patch": {"_target_": "triptych.nn.patch.PatchEmbedding", "_partial_": True, "patch_size": 4},
    "mixer": {"_target_": "triptych.nn.mixers.softmax.SoftmaxMixer", "_partial_": True, "heads": 2},
    "feedforward": {"_target_": "triptych.nn.feedforward.GELUFeedForward", "_partial_": True},
    "norm": {"_target_": "triptych.nn.norm.LayerNorm", "_partial_": True},
    "position": {"_target_": "triptych.nn.position.LearnedPosition", "_partial_": True},
    "pool": {"_target_": "triptych.nn.pool.MeanPool", "_partial_": True},
}  # fmt: skip
SUMMARY = {
    "status": "finished", "steps": 50, "epochs": 2.5, "command": "triptych train data.root=pets", "seed": 7,
    "wall_seconds": 75.0, "forward_flops_per_sample": 62_000_000, "precision": "32-true",
    "device": {"name": "a processor", "count": 1}, "versions": {"python": "3.11", "torch": "2.15"},
    "git": {"commit": "abc123", "changed": True}, "metrics": {},
    "data": {"train_samples": 1234, "validation_samples": {"validation": 56}, "classes": 3},
}  # fmt: skip


def write_run(run: Path, data: Path, summary: dict[str, Any] = SUMMARY, ema: bool = False) -> Path:
    """A run directory as a training leaves it, with a checkpoint of step 40."""
    torch.manual_seed(0)
    model: Classifier = build({"_target_": "triptych.models.classifier.Classifier", "tower": TOWER, "num_classes": 3})
    state = {f"model.{name}": torch.randn_like(tensor) * 0.3 for name, tensor in model.state_dict().items()}
    config = {
        "model": {"_target_": "triptych.models.classifier.Classifier", "tower": TOWER, "num_classes": 3},
        "classes": CLASSES,
        "preprocess": Preprocess((16, 16), crop=1.0).to_dict(),
    }
    step = run / "checkpoints" / "step_0000040"
    write_checkpoint(step, {"state_dict": state, "global_step": 40, "epoch": 2, "triptych": {"config": config}})
    (run / "checkpoints" / "best").symlink_to(step.name)
    settings = {
        "task": "train", "data": {"root": str(data), "train": {"_target_": "pets.Source"}}, "weights": None,
        "ema": {"decay": 0.9} if ema else None, "objective": {"multi_label": False},
    }  # fmt: skip
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "metrics.csv").write_text(
        "step,epoch,train/loss,val/loss,val/accuracy,cats/accuracy\n40,2,0.5,0.25,0.875,0.625\n50,2.5,0.4,0.75,0.5,0.5\n"
    )
    (run / "classes.csv").write_text(
        classes_csv([ClassScore("cat", 10, 8, 0.75, 0.6, 2 / 3), ClassScore("dog", 0, 0, None, None, None)])
    )
    return run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    (root / "pets").mkdir()
    (root / "pets" / "LICENSE.md").write_text("\n# Creative Commons of Pets\nmore")
    write_run(root / "train" / "pets_run" / "2026", root / "pets")
    for place in ("photos/a/1.png", "photos/b/1.png", "photos/wide.jpg"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(place)).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / place)
    (root / "photos" / "broken.png").write_bytes(b"\x89PNG no")
    (root / "notes.txt").write_text("no picture")
    (root / "empty").mkdir()
    plain = triptych.load(root / "train" / "pets_run" / "2026")
    # Attention of a kind that only its own file knows: nothing in it can be looked at.
    state = {f"model.{name}": tensor for name, tensor in plain.state_dict().items() if "mixer." not in name}
    tower = {**TOWER, "mixer": {"_target_": "tests_mixer.Nothing", "_partial_": True}}
    (root / "tests_mixer.py").write_text(NOTHING)
    config = {"model": {"_target_": "triptych.models.classifier.Classifier", "tower": tower, "num_classes": 3}}
    write_checkpoint(root / "blind", {"state_dict": state, "triptych": {"config": config}})
    return root


NOTHING = """
from torch import nn
from triptych.nn.mixers.base import Abilities, Mixer

class Nothing(Mixer):
    abilities = Abilities(bidirectional=True, packed=True)
    rotary_dim = None

    def __init__(self, dim):
        super().__init__()

    def forward(self, x, layout, state=None):
        return x, None
"""


def test_attention_draws_every_picture_that_can_be_read(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = world / "train" / "pets_run" / "2026"
    assert (
        start("attention", [f"checkpoint={run}", f"image={world}/photos", "target=dog", "device.accelerator=cpu"]) == 0
    )
    (folder,) = (tmp_path / "outputs" / "attention" / "pets_run").iterdir()
    assert sorted(each.name for each in folder.iterdir()) == ["1_1.png", "2_1.png", "3_wide.png", "config.yaml"]
    said = capsys.readouterr().out.splitlines()
    assert len([line for line in said if "%" in line]) == 3
    model: Any = triptych.load(run)
    with Image.open(world / "photos" / "wide.jpg") as image:
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
    with torch.no_grad():
        share, number = model(model.preprocess(pixels)[None]).softmax(1)[0].max(0)
    (line,) = (line for line in said if line.startswith("wide.jpg"))
    assert line.split(maxsplit=1)[1].startswith(f"{CLASSES[int(number)]} {float(share):.1%}")
    assert ("shown: dog" in line) == (int(number) != 1)


@pytest.mark.parametrize("form", ["triptych", "timm"])
def test_export_writes_weights_and_a_card_of_what_is_known(
    form: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = world / "train" / "pets_run" / "2026"
    assert start("export", [f"checkpoint={run}", f"format={form}", f"out={tmp_path}/out"]) == 0
    ours, theirs = triptych.load(run), triptych.load(tmp_path / "out")
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == form
    for said in (
        "# pets_run", "3 classes of images apart: cat, dog, fox \\| \\<b\\>", "| weights | of step 40 |",
        "step 40, the step of these weights", "| validation | 56 | accuracy | 0.8750 |",
        "| cats |  | accuracy | 0.6250 |",
        "the run's last step, 50: not the weights here", "| cat | 10 | 60.0% | 75.0% |", "| dog | 0 |  |  |",
        "| training images | 1,234 |", "| licence file | LICENSE.md: Creative Commons of Pets |",
        "triptych train data.root=pets", "| steps | 50 (2.5 epochs) |", "| time | 1:15 |", "abc123 with changes",
        "python 3.11, torch 2.15", "| image size | 16, 16 |", "root: ", "random weights",
    ):  # fmt: skip
        assert said in card, said
    assert "0.7500" not in card  # what was measured at another step
    code = card.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")


def test_a_card_of_weights_without_a_run_says_that_nothing_is_known(world: Path, tmp_path: Path) -> None:
    start("export", [f"checkpoint={world}/train/pets_run/2026", "format=timm", f"out={tmp_path}/first"])
    assert start("export", [f"checkpoint={tmp_path}/first", "format=triptych", f"out={tmp_path}/second"]) == 0
    card = (tmp_path / "second" / "README.md").read_text(encoding="utf-8")
    assert "No run directory came with these weights: nothing is known here of data, training and results." in card
    for heading in ("## Results", "## Data", "## Training", "## Configuration"):
        assert heading not in card


def test_a_tower_of_timm_has_a_card_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tower = {"_target_": "triptych.towers.timm.TimmTower", "name": "test_vit", "image_size": 32, "channels": 3}
    model = {"_target_": "triptych.models.classifier.Classifier", "tower": tower, "num_classes": 3}
    built: Any = build(model)
    built.config = {"model": model, "classes": CLASSES, "preprocess": Preprocess((32, 32)).to_dict()}
    built.preprocess = Preprocess((32, 32))
    triptych.export(built, tmp_path / "own", format="triptych")
    assert start("export", [f"checkpoint={tmp_path}/own", "format=timm", f"out={tmp_path}/out"]) == 0
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| architecture | test_vit of timm |" in card
    assert "tags: [image-classification, model, triptych]" not in card
    theirs = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(theirs(images), built.eval()(images), rtol=1e-5, atol=1e-5)


def test_an_export_whose_card_fails_leaves_nothing(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("a fault of the card")

    monkeypatch.setattr("triptych.release.export.build_card", fail)
    with pytest.raises(RuntimeError, match="a fault of the card"):
        start("export", [RUN.replace("{world}", str(world)), "format=timm", f"out={tmp_path}/out"])
    assert list(tmp_path.iterdir()) == []


RUN = "checkpoint={world}/train/pets_run/2026"
MISTAKES: dict[str, tuple[str, list[str], str]] = {
    "no checkpoint said": ("attention", ["image={world}/photos"], "checkpoint.path is not set"),
    "no such checkpoint": (
        "attention", ["checkpoint={world}/train/pets_ran", "image={world}/photos"], "mean {world}/train/pets_run?",
    ),
    "no checkpoint there": ("attention", ["checkpoint={world}/empty", "image={world}/photos"], "a folder with"),
    "no image said": ("attention", [RUN], "image is not set: give image=..."),
    "no such image": ("attention", [RUN, "image={world}/photos/wode.jpg"], "does not exist; did you mean 'wide.jpg'?"),
    "no such folder": ("attention", [RUN, "image={world}/gone/1.png"], "nor does its folder {world}/gone"),
    "a folder without images": ("attention", [RUN, "image={world}/empty"], "no pictures in the folder {world}/empty"),
    "a pattern without a match": ("attention", [RUN, "image={world}/photos/*.webp"], "no file matches"),
    "not an image": ("attention", [RUN, "image={world}/notes.txt"], "notes.txt: not an image of a known format"),
    "a broken image": ("attention", [RUN, "image={world}/photos/broken.png"], "no picture can be read"),
    "no such class": ("attention", [RUN, "image={world}/photos", "target=dgo"], "Did you mean 'dog'?"),
    "class number out of range": ("attention", [RUN, "image={world}/photos", "target=3"], "target=3 is none of the 3"),
    "no such fusion": ("attention", [RUN, "image={world}/photos", "fusion=median"], "one of mean, min, max"),
    "discarding everything": ("attention", [RUN, "image={world}/photos", "discard=1"], "discard=1.0 is out of range"),
    "a model without attention": (
        "attention", ["checkpoint={world}/blind", "image={world}/photos", "allow_targets=[tests_mixer]"],
        "layer 0 has no softmax attention to show: its mixer is Nothing",
    ),
    "a device that is not there": (
        "attention", [RUN, "image={world}/photos", "device.accelerator=mps"], "this machine has no such device",
    ),
    "no format": ("export", [RUN, "out=out"], "format is not set: give format=..."),
    "unknown format": ("export", [RUN, "out=out", "format=onx"], "format=onx is out of range: one of onnx, timm"),
    "out exists": ("export", [RUN, "out={world}/empty", "format=onnx"], "empty exists already and is not overwritten"),
    "out is a file name": ("export", [RUN, "out=model.onnx", "format=onnx"], "names a file, but a folder is written"),
    "out lies in a file": ("export", [RUN, "out={world}/notes.txt/model", "format=timm"], "cannot be written: Not a"),
    "no out said": ("export", [RUN, "out=", "format=timm"], "out= is empty"),
    "a setting of another format": (
        "export", [RUN, "out=out", "format=timm", "normalise=false"], "normalise=false is a setting of format=onnx",
    ),
    "a model that timm lacks": (
        "export", ["checkpoint={world}/blind", "out=out", "format=timm", "allow_targets=[tests_mixer]"],
        "timm's ViT has no a mixer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_one_message(
    mistake: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "mps" in str(MISTAKES[mistake]) and torch.backends.mps.is_available():
        pytest.skip("this machine has it")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(world))
    task, words, message = MISTAKES[mistake]
    assert start(task, [word.replace("{world}", str(world)) for word in words]) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message.replace("{world}", str(world)) in errors[0]
    assert "Traceback" not in captured.err + captured.out
    assert len(errors[0]) < 600
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    words = [RUN.replace("{world}", str(world)), "format=onnx", f"out={tmp_path}/out"]
    assert start("export", words) == 2
    assert "needs onnxruntime, which is not installed: install the extra" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
