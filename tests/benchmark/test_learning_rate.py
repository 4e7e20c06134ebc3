"""`triptych learning_rate` on pictures: finds a rate where there is something to learn, refuses where there is not."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from triptych.command.start import start

pytestmark = pytest.mark.slow

SMALL = [
    "data=folder", "data.workers=0", "data/augment=none", "model.tower.image_size=16", "model.tower.patch.patch_size=4",
    "model.tower.dim=16", "model.tower.depth=1", "model.tower.mixer.heads=2", "trainer.accelerator=cpu",
    "trainer.threads=1", "optimizer=adamw",
]  # fmt: skip


def folder(root: Path, told: bool) -> Path:
    """Pictures of two classes, whose colour tells the class or does not."""
    draw = random.Random(0)
    for kind in range(2):
        place = root / "pictures" / str(kind)
        place.mkdir(parents=True)
        for number in range(40):
            # A few pictures lie, so that a rate which is too high is punished.
            red = told and (kind == 0) != (number % 8 == 0)
            colour = (230, 40, 40) if red else (40, 40, 230)
            noisy = tuple(min(255, max(0, part + draw.randint(-40, 40))) for part in colour)
            Image.new("RGB", (16, 16), noisy).save(place / f"{number}.png")
    return root / "pictures"


def run(root: Path, words: list[str]) -> tuple[int, dict[str, Any], Path]:
    code = start("learning_rate", [*SMALL, f"output={root / 'outputs'}", *words])
    (place,) = (root / "outputs" / "learning_rate" / "folder").iterdir()
    return code, json.loads((place / "learning_rate.json").read_text()), place


def test_finds_a_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = folder(tmp_path, told=True)
    code, found, place = run(tmp_path, [f"data.root={root}", "data.batch_size=72", "finder.steps=40"])
    assert code == 0
    assert 1e-4 < found["rate"] < 1
    assert len(found["climbs"]) == 2
    assert f"optimizer.lr={found['rate']:.2g}" in capsys.readouterr().out
    # Nothing is left that a run would go on from, and the picture is there.
    assert sorted(path.name for path in place.iterdir()) == ["config.yaml", "learning_rate.json", "plots", "run.log"]
    assert (place / "plots" / "learning_rate.png").stat().st_size > 10_000


def test_refuses_what_cannot_be_learnt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = folder(tmp_path, told=False)
    code, found, place = run(
        tmp_path, [f"data.root={root}", "data.batch_size=4", "finder.steps=30", "optimizer.lr=0.001"]
    )
    assert code == 2
    assert found["rate"] is None
    error = capsys.readouterr().err
    assert "error: no learning rate can be told" in error
    assert "data.batch_size" in error
    assert str(place / "plots" / "learning_rate.png") in error


MISTAKES = {
    "a climb that falls": (["finder.lowest=1", "finder.highest=0.1"], "finder.lowest=1 must be below finder.highest"),
    "too few steps": (["finder.steps=5"], "finder.steps=5 is out of range: >= 30"),
    "no data": (["data.root=/nowhere"], "/nowhere"),
    "one seed": (["finder.seeds=1"], "finder.seeds=1 is out of range: >= 2"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_message(mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, message = MISTAKES[mistake]
    root = [] if any(word.startswith("data.root") for word in words) else [f"data.root={tmp_path}"]
    assert start("learning_rate", [*SMALL, f"output={tmp_path / 'outputs'}", *root, *words]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "outputs").exists()
