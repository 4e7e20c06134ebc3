"""Contrastive gradients on several processes: `contrastive_ranks.py PROCESSES OUTPUT`. Started by test_contrastive.py,
in processes of its own.

For each case, the first process writes down the gradients averaged over processes, as DDP averages them, beside those
of one process that has all samples.
"""

import itertools
import sys
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing
from toy_pairs import Batch, ToyPair, toy_pair, toy_pairs

from triptych.losses import contrastive, sigmoid_contrastive, softmax_contrastive
from triptych.losses.contrastive import PairLoss
from triptych.objectives.gradient_cache import cached_backward
from triptych.parallel.exchange import Exchange, OwnRows, Ring, WholeBatch
from triptych.parallel.gather import Shards

LOSSES: dict[str, PairLoss] = {
    "softmax": partial(softmax_contrastive, tile=3),
    "hard": partial(softmax_contrastive, hardness=0.5, positive_weight=0.5),
    "sigmoid": partial(sigmoid_contrastive, tile=2),
}
EXCHANGES: dict[str, Exchange] = {"whole_batch": WholeBatch(), "own_rows": OwnRows(), "ring": Ring()}
COUNTS = {
    2: {"even": (4, 4), "uneven": (5, 3), "empty": (7, 0)},
    3: {"even": (3, 3, 3), "uneven": (4, 1, 3), "empty": (3, 2, 0)},
}
# How samples lie over processes, and the micro-batches of each.
SHAPES = [("even", 1), ("even", 4), ("uneven", 1), ("uneven", 2), ("empty", 2)]


def pieces(batch: Batch, rows: range, count: int) -> list[Batch]:
    """A process's samples in `count` micro-batches, as nearly as they divide."""
    own = {key: value[rows.start : rows.stop] for key, value in batch.items()}
    size = max(1, -(-len(rows) // count))
    return [{key: each[at : at + size] for key, each in own.items()} for at in range(0, max(len(rows), 1), size)]


def features(model: ToyPair, batch: Batch) -> list[Tensor]:
    """Of none, the first row of a sample of zeros is cut off, which leaves a graph with gradients of 0."""
    some = batch if len(batch["id"]) else {key: value.new_ones(1, *value.shape[1:]) for key, value in batch.items()}
    return [each[: len(batch["id"])] for each in model.features(some)]


def grads(model: ToyPair) -> dict[str, Tensor]:
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


def alone(loss: PairLoss, batch: Batch, shards: Shards, k: int, dropout: bool, ids: Tensor | None) -> dict[str, Tensor]:
    """One process with all samples, which draws for each shard's micro-batches what that process draws."""
    model = toy_pair(dropout).double()
    parts = []
    for rank, rows in enumerate(shards.ranges):
        torch.manual_seed(rank)
        parts += [features(model, piece) for piece in pieces(batch, rows, k)]
    everyone = [torch.cat(each) for each in zip(*parts, strict=True)]
    value = contrastive(everyone, model.logit_scale, model.logit_bias, ids, loss)
    value.backward()
    return {**grads(model), "loss": value.detach()}


def together(
    loss: PairLoss, exchange: Exchange, batch: Batch, shards: Shards, k: int, dropout: bool, ids: Tensor | None
) -> dict[str, Tensor]:
    """This process with its samples, averaged with the others."""
    model = toy_pair(dropout).double()
    torch.manual_seed(shards.rank)
    own = None if ids is None else ids[shards.own.start : shards.own.stop]

    def compute(found: list[Tensor], shared: list[Tensor]) -> Tensor:
        return exchange(found, shared[0], shared[1], own, loss, shards)

    shared = [model.logit_scale, model.logit_bias]
    chunks = pieces(batch, shards.own, k)
    value = cached_backward(chunks, partial(features, model), compute, shared, lambda part, last: part.backward())
    found = {**grads(model), "loss": value}
    for each in found.values():
        dist.all_reduce(each, group=shards.group)
        each /= shards.world
    return found


def work(rank: int, processes: int, output: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{output}.meeting", rank=rank, world_size=processes)
    cases: dict[str, tuple[dict[str, Tensor], dict[str, Tensor]]] = {}
    for loss, (shape, k) in itertools.product(LOSSES, SHAPES):
        shards = Shards.agree(COUNTS[processes][shape][rank], torch.device("cpu"))
        if shards.counts != COUNTS[processes][shape]:
            raise RuntimeError(f"agreed on {shards.counts}, not {COUNTS[processes][shape]}")
        batch = toy_pairs(shards.total, 1)
        # Dropout, stochastic depth and patch dropout are on wherever there is a cache to replay them.
        rest = batch, shards, k, k > 1, None if (shape, k) == ("even", 1) else batch["id"]
        expected = alone(LOSSES[loss], *rest) if rank == 0 else {}
        for exchange in EXCHANGES if loss == "sigmoid" else ("whole_batch", "own_rows"):
            cases[f"{loss}-{exchange}-{shape}-{k}"] = expected, together(LOSSES[loss], EXCHANGES[exchange], *rest)
    if processes == 3:
        # The first and the last process are a group; the other one holds the same samples as the first.
        group = dist.new_group([0, 2])
        if rank != 1 and isinstance(group, dist.ProcessGroup):
            shards = Shards.agree((3, 2)[rank // 2], torch.device("cpu"), group)
            batch = toy_pairs(5, 2)
            rest = batch, shards, 2, True, batch["id"]
            for exchange in EXCHANGES:
                cases[f"group-{exchange}"] = (
                    alone(LOSSES["sigmoid"], *rest), together(LOSSES["sigmoid"], EXCHANGES[exchange], *rest),
                )  # fmt: skip
    if rank == 0:
        torch.save(cases, output)
    dist.destroy_process_group()


if __name__ == "__main__":
    multiprocessing.spawn(work, (int(sys.argv[1]), Path(sys.argv[2])), nprocs=int(sys.argv[1]))  # pyright: ignore[reportPrivateImportUsage]
