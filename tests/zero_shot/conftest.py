"""A small pair that has learnt three colours by name, and pictures of them."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import triptych
from triptych.build import build
from triptych.models.contrastive import Contrastive
from triptych.presets import create

from ..evaluation.conftest import COLOURS, draw_picture

WORDS = ["a", "photo", "of", *COLOURS, "drawing", "thing"]
SMALL: dict[str, Any] = {
    "towers.image.image_size": 16, "towers.image.patch.patch_size": 8, "towers.image.dim": 16, "towers.image.depth": 1,
    "towers.image.mixer.heads": 2, "towers.text.dim": 16, "towers.text.depth": 1, "towers.text.mixer.heads": 2,
    "towers.text.vocab_size": 4 + len(WORDS), "towers.text.end_token": 3, "towers.text.context_length": 12,
    "embedding_dim": 8,
}  # fmt: skip


def small_pair(bias: float | None = None) -> Contrastive:
    """An untrained pair that knows `WORDS`, and its own config."""
    model = create("clip_nano", overrides=SMALL)
    assert isinstance(model, Contrastive)
    assert model.config is not None
    config = model.config["model"]
    config["tokenizer"] = {
        "_target_": "triptych.features.word_tokenizer.WordTokenizer", "words": WORDS, "context_length": 12,
    }  # fmt: skip
    config["logit_bias_init"] = bias
    torch.manual_seed(0)
    built = build(config)
    assert isinstance(built, Contrastive)
    assert built.preprocess is not None
    built.config = {"model": config, "preprocess": built.preprocess.to_dict()}
    return built


def teach(model: Contrastive, pictures: Path, steps: int = 40) -> None:
    """Pulls pictures of `FOLDER/COLOUR/*.png` to the names of their colours."""
    assert model.preprocess is not None
    assert model.tokenizer is not None
    names = sorted(COLOURS)
    files = [(path, names.index(path.parent.name)) for path in sorted(pictures.glob("*/*.png"))]
    images = torch.stack([model.preprocess(Image.open(path)) for path, _ in files])
    labels = torch.tensor([label for _, label in files])
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for step in range(steps):
        text = model.tokenizer([("{}", "a photo of a {}", "a drawing of {}")[step % 3].format(name) for name in names])
        logits = model.logit_scale.exp() * model.embed("image", images) @ model.embed("text", *text).T
        optimizer.zero_grad()
        F.cross_entropy(logits, labels).backward()
        optimizer.step()


@dataclass(frozen=True)
class World:
    """`pair` knows the colours of `pictures` (folders of splits and colours); `table` gives captions of the same."""

    root: Path
    pair: Path
    pictures: Path
    table: Path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("zero_shot")
    draw = random.Random(0)
    for colour in COLOURS:
        for number in range(8):
            draw_picture(root / "pictures" / "train" / colour / f"{number:02}.png", colour, draw)
        for number in range({"blue": 5, "green": 2, "red": 4}[colour]):
            draw_picture(root / "pictures" / "val" / colour / f"{number:02}.png", colour, draw, (20, 24))
    model = small_pair()
    teach(model, root / "pictures" / "train")
    triptych.export(model.eval(), root / "pair")
    rows = [
        f"{path.relative_to(root)},{caption}"
        for path in sorted((root / "pictures" / "val").glob("*/*.png"))
        for caption in (f"a photo of a {path.parent.name} thing", path.parent.name)
    ]
    (root / "captions.csv").write_text("\n".join(["path,caption", *rows]) + "\n")
    return World(root, root / "pair", root / "pictures", root / "captions.csv")


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path
