"""A small model trained on coloured pictures, and pictures of every kind that people have."""

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image

import triptych
from triptych.command.start import start
from triptych.models.classifier import Classifier

COLOURS = {"blue": (40, 60, 200), "green": (60, 180, 70), "red": (200, 50, 60)}
SMALL = [
    "data=folder", "data.batch_size=16", "data.workers=0", "data/augment=none", "model.tower.image_size=16",
    "model.tower.patch.patch_size=8", "model.tower.dim=16", "model.tower.depth=1", "model.tower.mixer.heads=2",
    "logger=null", "trainer.accelerator=cpu", "trainer.max_steps=40", "trainer.epochs=100", "schedule.warmup=0.1",
    "optimizer=adamw", "optimizer.lr=0.01", "name=colours",
]  # fmt: skip


def draw_picture(path: Path, colour: str, draw: random.Random, size: tuple[int, int] = (16, 16)) -> None:
    """A picture of about that colour, every pixel a little different."""
    path.parent.mkdir(parents=True, exist_ok=True)
    base = COLOURS[colour]
    pixels = bytes(
        max(0, min(255, channel + draw.randint(-30, 30))) for _ in range(size[0] * size[1]) for channel in base
    )
    Image.frombytes("RGB", size, pixels).save(path)


@dataclass(frozen=True)
class World:
    """`pictures` of three colours in 15 + 7 files each, and the `run` that was trained on them."""

    root: Path
    pictures: Path
    run: Path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("colours")
    draw = random.Random(0)
    for colour in COLOURS:
        for number in range(15):
            draw_picture(root / "pictures" / "train" / colour / f"{number:02}.png", colour, draw)
        for number in range(7):
            draw_picture(root / "pictures" / "val" / colour / f"{number:02}.png", colour, draw, (20, 24))
    assert start("train", [*SMALL, f"data.root={root / 'pictures'}", f"output={root / 'outputs'}"]) == 0
    (run,) = (root / "outputs" / "train" / "colours").iterdir()
    return World(root, root / "pictures", run)


@pytest.fixture(scope="session")
def nameless(world: World) -> Path:
    """The same model as a folder that no run made and that names no classes."""
    model = triptych.load(world.run)
    assert isinstance(model, Classifier)
    config = model.config
    assert config is not None
    del config["classes"]
    triptych.export(model, world.root / "nameless")
    return world.root / "nameless"


@pytest.fixture(scope="session")
def several_labels(world: World) -> Path:
    """The same model, said to be of several labels."""
    model = triptych.load(world.run)
    assert isinstance(model, Classifier)
    config = model.config
    assert config is not None
    config["multi_label"] = True
    triptych.export(model, world.root / "several_labels")
    return world.root / "several_labels"


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)
    shutil.rmtree(tmp_path / "outputs", ignore_errors=True)
