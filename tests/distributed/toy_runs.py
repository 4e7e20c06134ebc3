"""Small runs of each kind of model that processes train together, as a launcher would start them."""

import csv
import random
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from triptych.parallel.launch import launch

from ..sounds import RATE, tone, write

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (40, 60, 210), "grey": (120, 120, 120)}
LOOP = [
    "logger=null", "trainer.accelerator=cpu", "trainer.threads=1", "trainer.log_every=1", "trainer.epochs=100",
    "trainer.max_steps=20", "trainer.validate_every=2", "data.workers=0", "objective.clip=1.0",
]  # fmt: skip
KINDS = {
    "images": [
        "data=folder", "data.batch_size=10", "data.root={root}/tiles", "model.tower.image_size=16",
        "model.tower.patch.patch_size=4", "model.tower.dim=32", "model.tower.depth=2", "model.tower.mixer.heads=4",
        "model.tower.stochastic_depth=0",
    ],
    "pairs": [
        "data=pairs_manifest", "data.train.file={root}/tiles.csv", "data.train.concept=colour", "data.batch_size=9",
        "data.templates=a {{}} tile", "data/augment=none", "model.embedding_dim=8", "model.towers.image.image_size=8",
        "model.towers.image.dim=16", "model.towers.image.depth=2", "model.towers.image.patch.patch_size=4",
        "model.towers.image.mixer.heads=4", "model.towers.text.dim=16", "model.towers.text.depth=2",
        "model.towers.text.mixer.heads=4", "model.towers.image.patch_dropout=0", "model.towers.text.token_dropout=0",
        "model.towers.image.stochastic_depth=0", "model.towers.text.stochastic_depth=0",
    ],
    "sounds": [
        "data=audio_folder", "data.root={root}/tones", "data.batch_size=8", "data.max_seconds=0.3",
        f"data.front_end.sample_rate={RATE}", "data.front_end.mel_bins=32", "model=ast_nano",
        "model.tower.mel_bins=32", "model.tower.patch.patch_size=[16,4]", "model.tower.dim=16", "model.tower.depth=2",
        "model.tower.mixer.heads=4", "model.tower.stochastic_depth=0",
    ],
}  # fmt: skip


def make_data(root: Path) -> Path:
    """Tiles of four colours in folders and in a table with captions, and tones of three pitches and any length."""
    draws = np.random.default_rng(0)
    rows = []
    for number in range(40):
        colour = list(COLOURS)[number % 4]
        pixels = np.clip(np.array(COLOURS[colour]) + draws.integers(-60, 60, (16, 16, 3)), 0, 255).astype(np.uint8)
        path = root / "tiles" / colour / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        rows.append([path.relative_to(root), f"a {colour} tile", colour, "validation" if number >= 30 else "train"])
    with open(root / "tiles.csv", "w", newline="") as file:
        csv.writer(file).writerows([["image", "caption", "colour", "split"], *rows])
    draw = random.Random(0)
    for place, kind in enumerate(("high", "low", "middle")):
        for number in range(9):
            signal = tone((1800, 300, 800)[place], draw.uniform(0.1, 0.4), seed=number)
            write(root / "tones" / kind / f"{number}.wav", signal)
    return root


def train(kind: str, root: Path, output: Path, processes: int, *words: str) -> Path:
    """Trains together in so many processes; the run directory."""
    given = [word.format(root=root) for word in [*KINDS[kind], *LOOP]]
    code = launch(partial(_start, processes), [*given, f"output={output}", f"name={kind}", *words], processes)
    assert code == 0
    return sorted((output / "train" / kind).iterdir())[-1]


def resume(run: Path, processes: int, *words: str) -> None:
    """Goes on with a run in so many processes."""
    assert launch(partial(_start, processes), [f"resume={run}", *words], processes) == 0


def _start(processes: int, words: list[str]) -> int:
    from lightning.pytorch import Callback

    import triptych.job
    from triptych.command.start import start

    triptych.job.RunPictures = lambda *given: Callback()  # pyright: ignore[reportAttributeAccessIssue]
    return start("train", words)


def trace(run: Path) -> dict[str, list[float]]:
    """Each metric of a run, step by step."""
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


def worst(expected: dict[str, list[float]], found: dict[str, list[float]], *names: str) -> float:
    """The largest relative difference of two traces in these metrics."""
    assert all(len(expected[name]) == len(found[name]) > 0 for name in names)
    pairs = [pair for name in names for pair in zip(expected[name], found[name], strict=True)]
    return max(abs(a - b) / max(abs(a), 1e-8) for a, b in pairs)
