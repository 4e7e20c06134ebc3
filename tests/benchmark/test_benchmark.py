"""`triptych benchmark` on small models: what it writes, what it prints, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import triptych
from triptych.benchmark.loader import FirstBatches, timms_transform
from triptych.benchmark.work import Work
from triptych.checkpoints.timm import timm_twin
from triptych.command.start import start
from triptych.data.order import Order
from triptych.data.transforms import CentreCrop, PadCrop, RandomResizedCrop
from triptych.errors import UserError
from triptych.models.classifier import Classifier

pytestmark = pytest.mark.slow

TINY = [
    "model.tower.image_size=32", "model.tower.dim=24", "model.tower.depth=2", "device.accelerator=cpu", "pairs=2",
    "batch_size=2", "device.threads=1",
]  # fmt: skip


def result(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("outputs/benchmark/*/*/benchmark.json")
    return json.loads(file.read_text())


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of six pictures of two classes."""
    for number in range(6):
        place = tmp_path / "pictures" / ("a", "b")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40 + number, 50), (number * 40, 99, 0)).save(place / f"{number}.jpg")
    return tmp_path / "pictures"


def test_every_mode_beside_timm(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = ["data=folder", f"data.root={pictures}", "data.workers=0", "loader_batches=2"]
    assert start("benchmark", [*TINY, *data, "mode=all"]) == 0
    found = result(tmp_path)
    rows = {(row["mode"], row["who"]): row for row in found["rows"]}
    assert set(rows) == {(mode, who) for mode in ("train", "inference", "loader") for who in ("triptych", "timm")}
    assert rows["loader", "triptych"]["samples"] == 4
    for (mode, who), row in rows.items():
        assert row["samples_per_second"] == pytest.approx(row["samples"] / row["seconds"]["median"])
        assert (row["ratio"] is not None) == (who == "triptych")
        assert (row["flops"] is None) == (mode == "loader")
        assert (row["saved_bytes"] or 0) > 0 if mode == "train" else row["saved_bytes"] is None
        assert row["mfu"] is None
    assert rows["train", "timm"]["flops"] == rows["train", "triptych"]["flops"]
    assert rows["train", "triptych"]["flops"] == 3 * rows["inference", "triptych"]["flops"]
    assert any("unknown peak" in note for note in found["notes"])
    (same,) = [note for note in found["notes"] if "same weights" in note]
    assert float(same.split()[-1]) < 1e-5
    printed = capsys.readouterr().out
    for word in ("samples/s", "timm / ours", "saved MiB", "unknown peak", "benchmark.json"):
        assert word in printed


def test_without_a_peer(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Grouped keys, which timm's plain ViT has not.
    assert start("benchmark", [*TINY, "model.tower.mixer.heads=4", "model.tower.mixer.kv_heads=2"]) == 0
    (row,) = result(tmp_path)["rows"]
    assert row["who"] == "triptych"
    assert row["ratio"] is None
    printed = capsys.readouterr().out
    assert "not compared: timm's ViT has no a mixer" in printed or "not compared: timm" in printed
    assert "timm / ours" not in printed


def test_batch_size_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word for word in TINY if not word.startswith("batch_size")]
    assert start("benchmark", [*words, "against=null", "batch_size=auto", "memory=3MiB"]) == 0
    found = result(tmp_path)
    assert found["rows"][0]["samples"] == found["batch_size"] > 2
    (note,) = [note for note in found["notes"] if note.startswith("batch_size=")]
    assert "of 3 MiB (saved tensors, weights, gradients and optimizer state" in note
    # Twice as much does not fit: the step is measured again, by hand.
    model = triptych.create(
        "vit_tiny_patch16_224", overrides={"tower.image_size": 32, "tower.dim": 24, "tower.depth": 2}
    )
    work = Work((3, 32, 32), 1000, 1, torch.device("cpu"), "32-true", 0)
    assert (work.memory(model)(2 * found["batch_size"]) or 0) > 3 * 2**20


MISTAKES = {
    "unknown mode": (["mode=training"], "mode=training is out of range: one of train, inference, loader, all"),
    "batch size in words": (
        ["batch_size=many"],
        "batch_size=many, but it must be a whole number of at",
    ),
    "batch size of nothing": (["batch_size=0"], "batch_size=0, but it must be a whole number"),
    "batch size in parts": (["batch_size=1.5"], "batch_size"),
    "memory in words": (["batch_size=auto", "memory=lots"], "memory=lots is no amount of memory"),
    "memory too small": (["batch_size=auto", "memory=10KB"], "a training step of one sample takes"),
    "a step of the loader": (["batch_size=auto", "mode=loader"], "mode=loader makes none: give a number"),
    "one pair": (["pairs=1"], "pairs=1 is out of range: >= 2"),
    "another peer": (["against=keras"], "against=keras is out of range: one of timm"),
    "unknown model": (["model=vit_tiny"], "vit_tiny"),
    "towers of pairs": (["model=clip_nano"], "`triptych benchmark` takes classifiers of images: choose another model"),
    "a device that is not there": (["device.accelerator=mps"], "no such device"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_message(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words, message = MISTAKES[mistake]
    keys = {word.partition("=")[0] for word in words}
    settings = [word for word in TINY if word.partition("=")[0] not in keys and "model" not in keys]
    assert start("benchmark", [*settings, *words]) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in captured.err + captured.out
    assert list(tmp_path.iterdir()) == []


def test_a_twin_says_the_same_and_leaves_out_as_much() -> None:
    overrides = {"tower.image_size": 32, "tower.dim": 24, "tower.depth": 3, "tower.stochastic_depth": 0.2,
                 "tower.patch_dropout": 0.25}  # fmt: skip
    model = triptych.create("vit_tiny_patch16_224", num_classes=7, overrides=overrides)
    assert isinstance(model, Classifier)
    twin: Any = timm_twin(model)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model.eval()(images), twin.eval()(images))
    assert twin.patch_drop.prob == 0.25
    assert [block.drop_path1.drop_prob if i else 0.0 for i, block in enumerate(twin.blocks)] == pytest.approx(
        model.tower.stack.rates
    )


def test_a_model_of_timm_has_no_twin() -> None:
    model = triptych.create("timm", overrides={"tower.name": "resnet18", "tower.image_size": 32})
    assert isinstance(model, Classifier)
    with pytest.raises(UserError, match="resnet18 is timm's own model already"):
        timm_twin(model)


def test_saved_bytes_are_those_of_the_batch() -> None:
    model = triptych.create(
        "vit_tiny_patch16_224", overrides={"tower.image_size": 32, "tower.dim": 24, "tower.depth": 2}
    )
    saved = [Work((3, 32, 32), 1000, size, torch.device("cpu"), "32-true", 0).saved(model) for size in (1, 2, 4)]
    assert saved[2] - saved[1] == 2 * (saved[1] - saved[0])


def test_timm_cuts_the_same_pixels_for_evaluation() -> None:
    picture = Image.linear_gradient("L").resize((90, 70)).convert("RGB")
    ours = CentreCrop(48, 0.875, "bicubic")
    theirs = torch.as_tensor(timms_transform(ours)(picture))
    mine = ours(torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(70, 90, 3).permute(2, 0, 1))
    assert theirs.shape == mine.shape
    assert (theirs.float() - mine.float()).abs().mean() < 3


def test_timm_cuts_at_random_within_the_same_bounds() -> None:
    cut: Any = timms_transform(RandomResizedCrop(24, scale=(0.5, 0.6), flip=0.0))
    assert cut(Image.new("RGB", (50, 40), (9, 8, 7))).shape == (3, 24, 24)
    crop = cut.transforms[0]
    assert tuple(crop.scale) == (0.5, 0.6)
    assert crop.ratio == pytest.approx((3 / 4, 4 / 3))


def test_a_transform_that_timm_lacks_is_named() -> None:
    with pytest.raises(UserError, match="same as PadCrop: take data/augment=light"):
        timms_transform(PadCrop(24))


@pytest.mark.parametrize(("size", "batches", "samples"), [(10, 2, 8), (10, 9, 10), (3, 1, 3)])
def test_first_batches_are_those_of_the_order(size: int, batches: int, samples: int) -> None:
    order = Order(size, 4, seed=3)
    first = FirstBatches(order, batches)
    assert first.samples == samples == sum(len(first.indices(step)) for step in range(first.steps_per_epoch))
    for step in range(first.steps_per_epoch):
        assert first.indices(step).tolist() == order.indices(step).tolist()


@pytest.mark.gpu
def test_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word for word in TINY if not word.startswith(("device", "batch_size"))]
    words += ["device.accelerator=gpu", "device.precision=bf16-mixed", "batch_size=auto", "memory=300MiB", "mode=all"]
    assert start("benchmark", [*words, "data.workers=0", "loader_batches=1"]) == 0
    found = result(tmp_path)
    for row in found["rows"]:
        if row["mode"] != "loader":
            assert 0 < row["peak_bytes"] < 600 * 2**20
    assert any("the most that was allocated on the device" in note for note in found["notes"])
