"""Which strategy for which model and how many GPUs, by formula: the plan of docs/scaling.md.

    python bench/scaling.py
    python bench/scaling.py --models vit_giant_patch14_reg4_dinov2 7B --gpus 8 64 --memory 40 --batch 1024

For each model and number of GPUs it goes through the divisions that the trainer offers, leaves out what does not fit
the memory, and shows the one with the shortest step. A time is a product of the assumptions that stand in the
arguments, not a measurement: memory and bytes are what `triptych.parallel.costs` counts.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

import triptych
from triptych.parallel.costs import Shape, held, traffic
from triptych.parallel.mesh import NAMES, Grid

NODE = 8
STACKS = {"7B": (32, 4096, 2048), "30B": (60, 6656, 2048), "70B": (80, 8192, 2048)}
"""Depth, width, and tokens of a sample, of stacks that are larger than the presets."""
TOKENS = {
    "vit_base_patch16_224": 197.0,
    "vit_giant_patch14_reg4_dinov2": 261.0,
    "clip_vit_large_patch14_224": 187.0,
}
FEWEST = 4
"""Micro-batches for each stage of a pipeline."""
AGAIN = {"none": 1.0, "selective": 1.04, "blocks": 4 / 3}
"""Work of a step, by what is computed again."""


@dataclass(frozen=True)
class Machine:
    """Bytes, FLOPs and bytes a second of one GPU and its links, and the tokens at a time that keep it busy."""

    memory: float
    flops: float
    link: float
    network: float
    busy: float = 2048.0


@dataclass(frozen=True)
class Plan:
    """One way to train: times in seconds, bytes of one process."""

    grid: Grid
    checkpointing: str
    samples: int
    memory: float
    compute: float
    waiting: float
    sent: float

    @property
    def time(self) -> float:
        return self.compute + self.waiting

    @property
    def words(self) -> str:
        """Overrides of `triptych train`."""
        grid = self.grid
        if grid.pipeline > 1:
            return f"pipeline pipeline={grid.pipeline}{self._again}"
        if grid.tensor == grid.shard == 1:
            name = "gpu" if grid.replicate == 1 else "ddp"
        else:
            name = {(False, True): "fsdp", (True, False): "tp", (True, True): "fsdp_tp"}[
                grid.tensor > 1, grid.shard > 1
            ]
        more = [f"replicas={grid.replicate}"] if grid.shard > 1 and grid.replicate > 1 else []
        more += [f"tensor={grid.tensor}"] if grid.tensor > 1 else []
        return " ".join([name, *more]) + self._again

    @property
    def _again(self) -> str:
        return f" activation_checkpointing={self.checkpointing}" if self.checkpointing != "none" else ""


def grids(gpus: int) -> Iterator[Grid]:
    """Divisions that keep products within a machine and whole models within machines, or shard over all; stages of a
    pipeline, with copies of it.
    """
    yield from (Grid(stages, gpus // stages) for stages in (2, 4, 8) if gpus % stages == 0)
    for tensor in (1, 2, 4, 8):
        rest, over = divmod(gpus, tensor)
        if over or not rest:
            continue
        if tensor == 1 or rest == 1:
            yield Grid(1, rest, 1, tensor)
        if rest > 1:
            yield from (
                Grid(1, rest // shard, shard, tensor) for shard in {max(2, NODE // tensor), rest} if rest >= shard
            )


def bandwidth(grid: Grid, axis: str, machine: Machine) -> float:
    """Of the link that an axis goes over: that between machines as soon as its processes are on several."""
    sizes = {name: getattr(grid, name) for name in reversed(NAMES)}  # neighbours along the first are neighbours
    within = list(sizes)[: list(sizes).index(axis) + 1]
    return machine.link if math.prod(sizes[name] for name in within) <= NODE else machine.network


def plans(shape: Shape, gpus: int, batch: int, machine: Machine) -> Iterator[Plan]:
    """Every way that fits, with the largest micro-batch."""
    for grid in grids(gpus):
        share = batch / grid.data
        least = FEWEST * grid.pipeline if grid.pipeline > 1 else 1
        if share < least or grid.pipeline > shape.depth:
            continue
        for checkpointing, work in AGAIN.items():
            samples = 2 ** int(math.log2(share / least))
            while samples >= 1:
                memory = held(shape, grid, samples, checkpointing=checkpointing, value=2).total
                if memory <= machine.memory:
                    break
                samples //= 2
            else:
                continue
            micro = -(-int(share) // samples)
            flops = 6 * shape.here(grid) * max(samples * shape.tokens, machine.busy) * micro * work
            compute = flops / machine.flops
            sent = {
                each.axis + each.collective: (each.sent, each.sent / bandwidth(grid, each.axis, machine))
                for each in traffic(shape, grid, samples, micro, checkpointing, value=2)
            }
            of_tensor = sum(time for name, (_, time) in sent.items() if name.startswith("tensor"))
            of_stages = sum(time for name, (_, time) in sent.items() if name.startswith("pipeline"))
            of_data = sum(time for _, time in sent.values()) - of_tensor - of_stages
            # Weights and gradients travel while blocks compute; sums of products are waited for, and a stage for those
            # before it at the start and those after it at the end.
            idle = compute * (grid.pipeline - 1) / micro
            waiting = of_tensor + of_stages + idle + max(0.0, of_data - compute)
            yield Plan(grid, checkpointing, samples, memory, compute, waiting, sum(size for size, _ in sent.values()))


def shape_of(name: str) -> Shape:
    if name in STACKS:
        return Shape.stack(*STACKS[name])
    with torch.device("meta"):
        return Shape.of(triptych.create(name), TOKENS[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=[*TOKENS, *STACKS])
    parser.add_argument("--gpus", nargs="+", type=int, default=[1, 8, 64, 256, 1024])
    parser.add_argument("--batch", type=int, default=4096, help="samples of a step, over all GPUs")
    parser.add_argument("--memory", type=float, default=72, help="GiB of a GPU that tensors may take")
    parser.add_argument("--flops", type=float, default=400, help="TFLOP/s that a GPU reaches in matrix products")
    parser.add_argument("--busy", type=float, default=2048, help="tokens at a time that a GPU needs to reach it")
    parser.add_argument("--link", type=float, default=300, help="GB/s that a GPU sends within a machine")
    parser.add_argument("--network", type=float, default=40, help="GB/s that a GPU sends to other machines")
    given = parser.parse_args()
    machine = Machine(given.memory * 2**30, given.flops * 1e12, given.link * 1e9, given.network * 1e9, given.busy)
    print("| model | parameters | GPUs | trainer= | micro-batch | GiB | GB sent in a step | s a step | of it waiting |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in given.models:
        shape = shape_of(name)
        for gpus in given.gpus:
            start = f"| {name} | {shape.parameters / 1e9:.3g} G | {gpus} |"
            found = list(plans(shape, gpus, given.batch, machine))
            print(start, row(found) if found else "does not fit | | | | | |")


def row(found: list[Plan]) -> str:
    """The rest of a row: of the plans that take the least time (to 2 percent) the one that divides least."""
    least = min(plan.time for plan in found)
    near = [plan for plan in found if plan.time <= 1.02 * least]
    best = min(
        near, key=lambda plan: (plan.grid.tensor, plan.grid.pipeline, plan.grid.shard, AGAIN[plan.checkpointing])
    )
    return (
        f"`{best.words}` | {best.samples} | {best.memory / 2**30:.1f} | {best.sent / 1e9:.1f} | {best.time:.3g} | "
        f"{best.waiting / best.time:.0%} |"
    )


if __name__ == "__main__":
    main()
