"""What a save costs training: `python bench/checkpoint.py [--blocks 40] [--steps 20] [OVERRIDES]`.

One run of `triptych train` in which every second block of steps begins with a save: blocks with and without lie beside
each other in time, so that a busy machine slows both. Prints the median over pairs of blocks, for saves that training
waits for and for saves that are written in the background, and what one save holds.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from lightning.pytorch import Callback, LightningModule, Trainer

import triptych.job
from triptych.callbacks.checkpointing import Checkpointing
from triptych.command.start import start


class Blocks(Callback):
    """Times blocks of steps; the checkpoint callback saves at the beginning of every second one."""

    def __init__(self, steps: int, checkpointing: Checkpointing) -> None:
        self.steps, self.checkpointing = steps, checkpointing
        self.seconds: list[float] = []
        self._began = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Runs before the callback that saves, so a block's time begins with its save."""
        if trainer.global_step % self.steps:
            self.checkpointing.every_steps = None
            return
        now = time.perf_counter()
        if self._began:
            self.seconds.append(now - self._began)
        self._began = now
        block = trainer.global_step // self.steps
        self.checkpointing.every_steps = self.steps if block % 2 == 0 else None


def measure(words: list[str], blocks: int, steps: int, background: bool, folder: Path) -> tuple[list[float], int]:
    """Seconds of each block, of which the first begins with a save, and bytes of a save."""
    found: list[Blocks] = []
    make = triptych.job.Job._trainer

    def with_blocks(self: triptych.job.Job, checkpoint: Checkpointing) -> Trainer:
        trainer = make(self, checkpoint)
        found.append(Blocks(steps, checkpoint))
        trainer.callbacks.insert(0, found[0])  # pyright: ignore[reportAttributeAccessIssue]
        return trainer

    triptych.job.Job._trainer = with_blocks
    try:
        code = start("train", [*words, f"trainer.max_steps={(2 * blocks + 3) * steps}", f"output={folder}",
                               f"checkpoint.background={str(background).lower()}"])  # fmt: skip
    finally:
        triptych.job.Job._trainer = make
    assert code == 0
    (save,) = folder.glob("train/*/*/checkpoints/last")
    size = sum(file.stat().st_size for file in save.resolve().iterdir())
    seconds = found[0].seconds
    return seconds[1 : 1 + 2 * blocks], size  # the first block has no save: step `steps` is block 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=20, help="pairs of blocks")
    parser.add_argument("--steps", type=int, default=20, help="steps of a block, and between saves")
    parser.add_argument("words", nargs="*", help="overrides of `triptych train`")
    given = parser.parse_args()
    words = [
        "experiment=null", "data=emoji", "logger=null", "checkpoint.every_seconds=null", "trainer.validate_every=1000",
        "trainer.epochs=1000", "checkpoint.keep=1", *given.words,
    ]  # fmt: skip
    for name, background in (("in the background", True), ("waited for", False)):
        with tempfile.TemporaryDirectory() as folder:
            seconds, size = measure(words, given.blocks, given.steps, background, Path(folder))
        pairs = list(zip(seconds[::2], seconds[1::2], strict=True))
        ratio = median(a / b for a, b in pairs)
        plain = median(b for _, b in pairs) / given.steps
        print(
            f"saves {name}: {size / 1e6:.1f} MB every {given.steps} steps of {plain * 1e3:.0f} ms: "
            f"{ratio - 1:+.1%} of the step time (median of {len(pairs)} pairs of blocks)"
        )


if __name__ == "__main__":
    main()
