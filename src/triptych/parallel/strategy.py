"""The Lightning strategy that a run's settings ask for."""

from datetime import timedelta
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy, Strategy

from triptych.parallel.apply import Sharding
from triptych.parallel.mesh import Grid, backend_of
from triptych.parallel.pipelined import Pipelined
from triptych.parallel.ranks import Ranks
from triptych.parallel.sharded import Sharded

FLOAT8 = "float8-mixed"


def grid_of(trainer: dict[str, Any], ranks: Ranks) -> Grid:
    """How these processes divide as the settings of the trainer say.

    Raises:
        UserError: they do not.
    """
    return Grid.of(ranks.world_size, trainer["sharded"], trainer["replicas"], trainer["tensor"], trainer["pipeline"])


def strategy_of(trainer: dict[str, Any], grid: Grid) -> Strategy | str:
    """What the settings of the trainer ask for, over the processes of a grid."""
    if grid == Grid():
        return "auto"
    patience = timedelta(seconds=trainer["timeout"])
    cuda = trainer["accelerator"] in ("auto", "gpu") and torch.cuda.is_available()
    backend = backend_of("cuda" if cuda else "cpu")
    if grid.plain:
        return DDPStrategy(process_group_backend=backend, timeout=patience, gradient_as_bucket_view=True)
    sharding = Sharding(cuda_bf16(trainer, cuda), trainer["compile"], trainer["precision"] == FLOAT8)
    return (Pipelined if grid.pipeline > 1 else Sharded)(grid, sharding, patience)


def cuda_bf16(trainer: dict[str, Any], cuda: bool) -> bool:
    """Whether the forward and backward pass are to be bfloat16."""
    wanted = trainer["precision"]
    return wanted in ("bf16-mixed", "bf16-true", FLOAT8) or (
        wanted == "auto" and cuda and torch.cuda.is_bf16_supported()
    )
