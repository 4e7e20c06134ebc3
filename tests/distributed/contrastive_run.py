"""Trains and validates toy pairs on some processes: `contrastive_run.py PROCESSES OUTPUT`. Started by
test_contrastive.py, in processes of its own.

For each case, the first process writes down the weights after three steps and what was logged.
"""

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from torch import Tensor, multiprocessing
from torch.utils.data import DataLoader, IterableDataset
from toy_pairs import Batch, toy_pair, toy_pairs

from triptych.features.pixels import Pixels
from triptych.losses import sigmoid_contrastive, softmax_contrastive
from triptych.objectives.contrastive import ContrastiveObjective, Prompts
from triptych.optim.schedule import constant
from triptych.parallel.exchange import OwnRows, Ring, WholeBatch

STEPS, BATCH = 3, 8
CASES: dict[str, dict[str, Any]] = {
    "softmax, own rows, cached": {"loss": softmax_contrastive, "exchange": OwnRows(), "micro_batch_size": 2},
    "softmax, whole batch": {"loss": softmax_contrastive, "exchange": WholeBatch()},
    "sigmoid, ring, cached": {"loss": sigmoid_contrastive, "exchange": Ring(), "micro_batch_size": 3},
}


class Slices(IterableDataset[Batch]):
    """A rank's part of each batch, as unevenly as can be: the last batch has two samples, and the last rank none."""

    def __init__(self, rank: int, ranks: int, first: int) -> None:
        cuts = {1: [0, 8], 2: [0, 5, 8], 3: [0, 4, 5, 8]}[ranks]
        self.part, self.first = slice(cuts[rank], cuts[rank + 1]), first

    def __iter__(self) -> Iterator[Batch]:
        for step in range(STEPS):
            batch = {
                **toy_pairs(BATCH, self.first + step),
                "label": torch.arange(BATCH) % 4,
                "index": torch.arange(BATCH),
            }
            yield {key: value[: 2 if step == STEPS - 1 else BATCH][self.part] for key, value in batch.items()}


def fit(rank: int, ranks: int, settings: dict[str, Any]) -> dict[str, Tensor]:
    trainer = Trainer(
        max_steps=STEPS, max_epochs=-1, val_check_interval=STEPS, check_val_every_n_epoch=None, accelerator="cpu",
        devices=ranks, strategy="ddp" if ranks > 1 else "auto", precision="64-true", use_distributed_sampler=False,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        log_every_n_steps=1, num_sanity_val_steps=0,
    )  # fmt: skip
    prompts = Prompts(toy_pairs(8, 50)["text"].view(4, 2, -1), toy_pairs(8, 50)["text_length"].view(4, 2))
    objective = ContrastiveObjective(
        toy_pair(), lambda model: torch.optim.SGD(model.parameters(), lr=0.5), constant, [Pixels([0.5] * 3, [0.5] * 3)],
        prompts={"classes": prompts}, clip=1.0, validation_names=["pairs", "classes"], **settings,
    )  # fmt: skip
    load = partial(DataLoader, batch_size=None)
    validation = [load(Slices(rank, ranks, first)) for first in (20, 30)]
    trainer.fit(objective, load(Slices(rank, ranks, 0)), validation)
    return {f"weight {name}": each for name, each in objective.model.state_dict().items()} | trainer.logged_metrics


def work(rank: int, ranks: int, output: Path) -> None:
    torch.set_num_threads(1)
    # As a launcher would have it; Lightning takes over processes that have met.
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": str(ranks)}
    if ranks > 1:
        dist.init_process_group("gloo", init_method=f"file://{output}.meeting", rank=rank, world_size=ranks)
    found = {name: fit(rank, ranks, settings) for name, settings in CASES.items()}
    if rank == 0:
        torch.save(found, output)
    if ranks > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    multiprocessing.spawn(work, (int(sys.argv[1]), Path(sys.argv[2])), nprocs=int(sys.argv[1]))  # pyright: ignore[reportPrivateImportUsage]
