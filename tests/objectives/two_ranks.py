"""Trains a toy on one or two processes: `two_ranks.py RANKS OUTPUT [nan] [short]`. Started by test_ranks.py, in
processes of its own.
"""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from triptych.features.pixels import Pixels
from triptych.objectives.classification import ClassificationObjective
from triptych.optim.adamw import adamw
from triptych.optim.schedule import constant

STEPS, BATCH = 3, 8


class Slices(IterableDataset[dict[str, Tensor]]):
    """Whole batches for one rank; for two, the first 5 samples of each for one and the last 3 for the other.

    If `short`, the last batch has one sample, so that the second rank has none of it.
    """

    def __init__(self, rank: int, ranks: int, short: bool) -> None:
        self.short = short
        self.part = slice(None) if ranks == 1 else slice(0, 5) if rank == 0 else slice(5, BATCH)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(0)
        for step in range(STEPS):
            images = torch.randint(0, 256, (BATCH, 3, 4, 4), dtype=torch.uint8, generator=generator)
            labels = torch.randint(3, (BATCH,), generator=generator)
            batch = {"image": images, "label": labels, "index": torch.arange(BATCH)}
            size = 1 if self.short and step == STEPS - 1 else BATCH
            yield {key: value[:size][self.part] for key, value in batch.items()}


class Poisoned(nn.Module):
    """Makes the loss nan on the last rank at the second step."""

    def __init__(self, model: nn.Module, active: bool) -> None:
        super().__init__()
        self.model, self.active, self.calls = model, active, 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.model(images) * (float("nan") if self.active and self.calls > 2 else 1.0)


def main(ranks: int, output: Path, poison: bool, short: bool) -> None:
    torch.manual_seed(0)
    trainer = Trainer(
        max_steps=STEPS,
        max_epochs=-1,
        accelerator="cpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.GELU(), nn.Linear(8, 3))
    poisoned = Poisoned(model, poison and trainer.global_rank == ranks - 1)
    optimizer = partial(adamw, lr=0.01)
    objective = ClassificationObjective(
        poisoned, optimizer, constant, 3, Pixels([0.5] * 3, [0.5] * 3), clip=1.0, micro_batch_size=2
    )
    trainer.fit(objective, DataLoader(Slices(trainer.global_rank, ranks, short), batch_size=None))
    if trainer.is_global_zero:
        torch.save({"weights": model.state_dict(), "loss": trainer.logged_metrics["train/loss"]}, output)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), "nan" in sys.argv, "short" in sys.argv)
