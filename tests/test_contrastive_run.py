"""A whole contrastive run on small pictures: what it learns, writes, and goes on from."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import triptych
from triptych.command.start import start
from triptych.models.contrastive import Contrastive

pytestmark = pytest.mark.slow

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (40, 60, 210), "grey": (120, 120, 120)}
SMALL = [
    "data=pairs_manifest", "data.train.concept=colour", "data.batch_size=8", "data.workers=0",
    "data.templates=a {} tile", "data/augment=none", "logger=null", "model.embedding_dim=8",
    "model.towers.image.image_size=8", "model.towers.image.dim=16",
    "model.towers.image.depth=1", "model.towers.image.patch.patch_size=4", "model.towers.image.mixer.heads=2",
    "model.towers.text.dim=16", "model.towers.text.depth=1", "model.towers.text.mixer.heads=2",
    "trainer.accelerator=cpu", "trainer.threads=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of four colours, each a little different, with captions that name the colour."""
    folder = tmp_path_factory.mktemp("tiles")
    draws = np.random.default_rng(0)
    rows = []
    for number in range(48):
        colour = list(COLOURS)[number % 4]
        pixels = np.clip(np.array(COLOURS[colour]) + draws.integers(-20, 20, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append([f"{number}.png", f"a {colour} tile", colour, "validation" if number >= 40 else "train"])
    with open(folder / "tiles.csv", "w", newline="") as file:
        csv.writer(file).writerows([["image", "caption", "colour", "split"], *rows])
    return folder / "tiles.csv"


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(table, tmp_path_factory.mktemp("whole"), "trainer.epochs=2")


def train(table: Path, output: Path, *words: str) -> Path:
    assert start("train", [*SMALL, f"data.train.file={table}", f"output={output}", *words]) == 0
    (run,) = (output / "train" / "pairs_manifest").iterdir()
    return run


def metrics(run: Path) -> list[dict[str, str]]:
    with open(run / "metrics.csv", newline="") as file:
        return [{key: row[key] for key in ("step", "train/loss", "val/loss")} for row in csv.DictReader(file)]


def loaded(run: Path, **options: Any) -> Contrastive:
    model = triptych.load(run, **options)
    assert isinstance(model, Contrastive)
    return model


def test_it_learns_the_names_and_draws_what_it_thinks(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert summary["metrics"]["val/accuracy"] == 1.0
    plots = {path.name for path in (run / "plots").iterdir()}
    assert {"curves.png", "confusion.png", "val_guesses.png"} <= plots
    assert "What it thinks of first, of all names" in (run / "report.html").read_text()


def test_words_and_preprocessing_travel_along(run: Path) -> None:
    model = loaded(run)
    assert model.tokenizer is not None
    assert model.preprocess is not None
    assert sorted(model.tokenizer.config["words"]) == sorted(["a", "tile", *COLOURS])
    names = list(COLOURS)
    tiles = torch.stack([model.preprocess(Image.new("RGB", (20, 12), COLOURS[name])) for name in names])
    with torch.inference_mode():
        likeness = model.embed("image", tiles) @ model.embed("text", *model.tokenizer([f"a {n} tile" for n in names])).T
    assert likeness.argmax(1).tolist() == [0, 1, 2, 3]


def test_zero_shot_on_the_run_says_the_same(run: Path, tmp_path: Path) -> None:
    words = [f"checkpoint={run}", f"output={tmp_path}", "device.accelerator=cpu", "resamples=0"]
    assert start("zero_shot", words) == 0
    (result,) = (tmp_path / "zero_shot").glob("*/*/summary.json")
    told = json.loads(result.read_text())["sets"]["val"]
    assert told["classification"]["metrics"]["accuracy"]["value"] == 1.0


@pytest.mark.parametrize("task", ["evaluate", "predict input=x.png", "attention image=x.png"])
def test_other_tasks_name_the_one_that_asks_it(
    task: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("x.png")
    name, *words = task.split()
    assert start(name, [f"checkpoint={run}", *words]) == 2
    assert "can be used here: ask it with `triptych zero_shot`" in capsys.readouterr().err


def test_a_broken_run_goes_on_with_the_same_losses(table: Path, run: Path, tmp_path: Path) -> None:
    """Seven steps by gradient caching in the first process, the rest in the next one."""
    words = ["trainer.epochs=2", "checkpoint.every_steps=7", "checkpoint.keep=9", "trainer.log_every=1"]
    whole = train(table, tmp_path / "whole", *words)
    broken = train(table, tmp_path / "broken", *words, "data.workers=1")
    (broken / "checkpoints" / "last").unlink()
    (broken / "checkpoints" / "last").symlink_to("step_0000007")
    assert start("train", [f"resume={broken}"]) == 0
    assert metrics(broken) == metrics(whole)
    expected, found = loaded(whole).state_dict(), loaded(broken).state_dict()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_other_captions_end_a_resume(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "tiles"
    folder.mkdir()
    for path in table.parent.glob("*.png"):
        (folder / path.name).symlink_to(path)
    (folder / "tiles.csv").write_text(table.read_text())
    run = train(folder / "tiles.csv", tmp_path / "out", "trainer.max_steps=1")
    (folder / "tiles.csv").write_text(table.read_text().replace("a grey tile", "a slate tile"))
    assert start("train", [f"resume={run}", "trainer.max_steps=2"]) == 2
    assert "another tokenizer than this configuration and its captions make now" in capsys.readouterr().err


def test_export_with_a_card(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert start("export", [f"checkpoint={run}", "format=triptych", f"out={out}"]) == 0
    card = (out / "README.md").read_text()
    assert "pipeline_tag: zero-shot-image-classification" in card
    assert "WordTokenizer, 10 tokens" in card
    expected, found = loaded(run).state_dict(), loaded(out).state_dict()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    for words, told in (
        (["format=onnx"], "holds contrastive towers: take one of open_clip, huggingface, triptych"),
        (["format=triptych", "checkpoint.classes=names.txt"], "contrastive towers take any names: leave it out"),
        (["format=open_clip"], "have no SwiGLUFeedForward or feed-forward without bias"),
    ):
        assert start("export", [f"checkpoint={run}", f"out={tmp_path}/other", *words]) == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
