"""A small training with all that a run has around it, in a process of its own: `python toy_run.py RUN [STEPS] [NAP]`.

It goes on from the run's last checkpoint if there is one. Prints a line at each step so that a test can aim its signal.
"""

import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn

from triptych.callbacks.checkpointing import Checkpointing
from triptych.callbacks.metrics import MetricsLogger
from triptych.callbacks.pictures import RunPictures
from triptych.callbacks.position import Position
from triptych.callbacks.progress import RunProgress
from triptych.callbacks.signals import GracefulStop
from triptych.callbacks.summary import RunSummary
from triptych.checkpoints.io import FolderCheckpointIO
from triptych.rundir import RunDirectory, RunLog


class Batches:
    """Batches of step `start` to `stop`, each a function of its step."""

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop

    def __len__(self) -> int:
        return self.stop

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for step in range(self.start, self.stop):
            generator = torch.Generator().manual_seed(step)
            image = torch.randint(0, 256, (4, 1, 4, 4), dtype=torch.uint8, generator=generator)
            yield {"image": image, "label": image.sum((1, 2, 3)) % 3, "index": torch.arange(4)}


class ToyData(LightningDataModule):
    start_step = 0
    steps_per_epoch = 5

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def train_dataloader(self) -> Batches:
        return Batches(self.start_step, self.steps)

    def val_dataloader(self) -> Batches:
        return Batches(0, 2)


class Toy(LightningModule):
    def __init__(self, nap: float = 0.0, fail_at: int | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.nap, self.fail_at = nap, fail_at
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self.model(batch["image"].float() / 255), batch["label"])

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        if self.trainer.global_step == self.fail_at:
            raise RuntimeError("the machine is on fire, token abcdefgh")
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        optimizer.zero_grad()
        loss = self.loss(batch)
        self.manual_backward(loss)
        optimizer.step()
        self.log("train/loss", loss)
        self.log("lr", 0.1)
        if self.nap:
            print(f"at step {self.trainer.global_step}", flush=True)
            time.sleep(self.nap)
        return loss.detach()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch), batch_size=4)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(run: RunDirectory, steps: int, nap: float = 0.0, log_every: int = 1, fail_at: int | None = None) -> Trainer:
    """Train to `steps`, from the run's last checkpoint if it has one."""
    torch.manual_seed(0)
    data = ToyData(steps)
    checkpoints = Checkpointing(every_steps=4, folder=run.checkpoints)
    metrics = MetricsLogger(run.metrics)
    summary = RunSummary(run, ["triptych", "train", "api_key=abcdefgh"], seed=7)
    trainer = Trainer(
        max_steps=steps, max_epochs=-1, val_check_interval=5, check_val_every_n_epoch=None, num_sanity_val_steps=0,
        accelerator="cpu", default_root_dir=run.path, enable_model_summary=False, log_every_n_steps=log_every,
        logger=[metrics], plugins=[FolderCheckpointIO()],
        callbacks=[
            Position(data), RunProgress(), metrics.recorder, GracefulStop(checkpoints), checkpoints, summary,
            RunPictures(run, summary),
        ],
    )  # fmt: skip
    resume = run.last_checkpoint() if any(run.checkpoints.glob("*")) else None
    trainer.fit(Toy(nap, fail_at), data, ckpt_path=resume, weights_only=False)
    return trainer


if __name__ == "__main__":
    folder, steps, nap = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    directory = RunDirectory(folder)
    with RunLog(directory.log):
        logging.getLogger("triptych").info("begins")
        fit(directory, steps, nap)
