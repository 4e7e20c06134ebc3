"""What training costs each process in memory and traffic, by formula: see docs/scaling.md.

Blocks are those of `triptych.nn.block.Block` with a feed-forward layer of four widths. Memory is that of float32
weights, gradients and optimizer states (mixed precision keeps them so); traffic is what each process gives to its
collectives in one optimizer step. `tests/distributed/test_collectives.py` counts the same in real runs.
"""

from dataclasses import dataclass

from torch import nn

from triptych.nn.feedforward import FeedForward, GatedFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.stack import Stack
from triptych.parallel.mesh import Grid

FLOAT32 = 4

KEPT = {"none": (4.0, 12.0), "selective": (1.0, 8.0), "blocks": (1.0, 0.0)}
"""Values that a block keeps for its backward pass, in widths of a token: those that every tensor-parallel process holds
(the input, the middle, two norms), and those that they divide (query, key, value and attention: 4; hidden units before
and after the activation function: 8). By `trainer.activation_checkpointing`.
"""


@dataclass(frozen=True)
class Shape:
    """What the costs of a model depend on.

    Args:
        parameters: of the whole model.
        products: those of them in the blocks' linear maps, which tensor parallelism divides.
        largest: those of the largest block, which FSDP gathers at once.
        depth: number of blocks, over all towers.
        dim: width of a token (the mean over blocks).
        tokens: per sample (the mean over blocks).
    """

    parameters: int
    products: int
    largest: int
    depth: int
    dim: float
    tokens: float

    @classmethod
    def of(cls, model: nn.Module, tokens: float) -> "Shape":
        """Counted in a model, which may be on the meta device; `tokens` are those of a sample in a block's mean."""
        blocks = [block for stack in model.modules() if isinstance(stack, Stack) for block in stack.blocks]
        mixers = [module for module in model.modules() if isinstance(module, SoftmaxMixer)]
        feedforwards = [module for module in model.modules() if isinstance(module, FeedForward | GatedFeedForward)]
        inner = [
            part for module in (*mixers, *feedforwards) for part in module.children() if isinstance(part, nn.Linear)
        ]
        return cls(
            parameters=_count(model),
            products=sum(map(_count, inner)),
            largest=max(map(_count, blocks)),
            depth=len(blocks),
            dim=sum(mixer.out.out_features for mixer in mixers) / len(mixers),
            tokens=tokens,
        )

    @classmethod
    def stack(cls, depth: int, dim: int, tokens: int) -> "Shape":
        """Of a stack of so many blocks, with nothing beside them."""
        block = 12 * dim * dim
        return cls(depth * block, depth * block, block, depth, float(dim), float(tokens))

    def here(self, grid: Grid) -> float:
        """Parameters of one stage and tensor-parallel share, before FSDP divides them."""
        return (self.products / grid.tensor + self.parameters - self.products) / grid.pipeline


@dataclass(frozen=True)
class Held:
    """Bytes in one process."""

    weights: float
    gradients: float
    states: float
    average: float
    gathered: float
    activations: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.states + self.average + self.gathered + self.activations


def held(
    shape: Shape, grid: Grid, samples: int, states: int = 2, average: bool = True, checkpointing: str = "none",
    value: int = FLOAT32,
) -> Held:  # fmt: skip
    """What a process holds at the end of a forward pass.

    Args:
        shape: of the model.
        grid: how the processes divide.
        samples: that a process has at a time (its micro-batch; under 1F1B as many as there are stages are under way).
        states: numbers that the optimizer keeps for each parameter: 2 for AdamW, 1 for Muon.
        average: whether a moving average of the weights is kept.
        checkpointing: key of `KEPT`.
        value: bytes of a number in activations and gathered weights: 2 for bfloat16.
    """
    own = FLOAT32 * shape.here(grid) / grid.shard
    # FSDP gathers the next block while it computes with one.
    gathered = 2 * value * shape.largest / grid.tensor if grid.shard > 1 else 0.0
    alike, divided = KEPT[checkpointing]
    widths = alike + divided / grid.tensor
    under_way = min(grid.pipeline, shape.depth)
    activations = value * samples * under_way * shape.tokens * shape.dim * shape.depth / grid.pipeline * widths
    return Held(own, own, states * own, own if average else 0.0, gathered, activations)


@dataclass(frozen=True)
class Traffic:
    """Bytes of the tensors that a process gives to (or gets from) one kind of collective in a step, each counted once
    and whole, and how many of these bytes it sends to others, by rings.
    """

    axis: str
    collective: str
    payload: float
    sent: float


def traffic(
    shape: Shape, grid: Grid, samples: int, micro_batches: int = 1, checkpointing: str = "none",
    value: int = FLOAT32,
) -> list[Traffic]:  # fmt: skip
    """What a process exchanges in one optimizer step, of the classification or contrastive model itself.

    Args:
        shape: of the model.
        grid: how the processes divide.
        samples: of one micro-batch in one process.
        micro_batches: of a step.
        checkpointing: key of `KEPT`: with it, one of the sums of tensor parallelism is made again.
        value: bytes of a number in activations and gathered weights: 2 for bfloat16.
    """
    found = []
    here = shape.here(grid)
    if grid.shard > 1:
        ring = (grid.shard - 1) / grid.shard
        gathered = 2 * micro_batches * value * here  # forwards and backwards
        found.append(Traffic("shard", "all-gather", gathered, ring * gathered))
        found.append(Traffic("shard", "reduce-scatter", FLOAT32 * here, ring * FLOAT32 * here))
    if grid.replicate > 1:
        reduced = FLOAT32 * here / grid.shard
        found.append(Traffic("replicate", "all-reduce", reduced, 2 * (grid.replicate - 1) / grid.replicate * reduced))
    passed = samples * micro_batches * shape.tokens * shape.dim * value
    if grid.tensor > 1:
        sums = 4 if checkpointing == "none" else 5
        summed = sums * passed * shape.depth / grid.pipeline
        found.append(Traffic("tensor", "all-reduce", summed, 2 * (grid.tensor - 1) / grid.tensor * summed))
    if grid.pipeline > 1:
        # A stage in the middle sends activations on and gradients back.
        found.append(Traffic("pipeline", "send", 2 * passed, 2 * passed))
    return found


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
