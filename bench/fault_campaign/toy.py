"""The runs that faults are done to: a tiny transformer on tiny pictures, twenty steps, saved at every second."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

STEPS = 20
COLOURS = {"blue": (40, 60, 210), "green": (30, 180, 40), "grey": (120, 120, 120), "red": (200, 30, 30)}
PICTURES = 40


@dataclass(frozen=True)
class Subject:
    """A way to train.

    Args:
        name: in the table.
        processes: that train together.
        words: overrides that say so.
    """

    name: str
    processes: int
    words: tuple[str, ...] = ()


SUBJECTS = {
    "one": Subject("one", 1),
    "two": Subject("two", 2, ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")),
    "sharded": Subject("sharded", 2, ("trainer=fsdp", "trainer.devices=2", "trainer.accelerator=cpu")),
}

# Noise in the model and in the pictures: a generator that does not go on where it was shows in the weights.
WORDS = (
    "data=folder", "data.batch_size=10", "data.mean=[0.5,0.5,0.5]", "model.tower.image_size=16",
    "model.tower.patch.patch_size=4", "model.tower.dim=16", "model.tower.depth=2", "model.tower.mixer.heads=2",
    "model.tower.stochastic_depth=0.2", "ema=ema", "logger=null", "trainer.accelerator=cpu", "trainer.threads=1",
    "trainer.log_every=1", "trainer.epochs=100", f"trainer.max_steps={STEPS}", "trainer.validate_every=2",
    "trainer.timeout=30", "data.workers=0", "checkpoint.every_steps=2", "name=toy",
)  # fmt: skip


def make_pictures(root: Path, side: int = 16) -> Path:
    """Noisy tiles of four colours, in a folder of pictures for each."""
    draws = np.random.default_rng(0)
    for number in range(PICTURES):
        colour = list(COLOURS)[number % len(COLOURS)]
        pixels = np.clip(np.array(COLOURS[colour]) + draws.integers(-60, 60, (side, side, 3)), 0, 255)
        path = root / colour / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return root
