"""Makes a model one that several processes hold together, always in the same order: tensor parallel, then activation
checkpointing and compilation of each block, then FSDP2. Blocks compute again by themselves (`checkpoint_activations`),
so that comes before their compilation whenever it is asked for. Float8 products follow tensor parallelism, which
narrows them.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from triptych.errors import UserError
from triptych.nn.float8 import use_float8
from triptych.nn.recompute import selective, whole
from triptych.nn.stack import Stack
from triptych.parallel.mesh import Mesh
from triptych.parallel.pieces import Cut
from triptych.parallel.plans import share_products


@dataclass(frozen=True)
class Sharding:
    """What is done to a model beside cutting it up.

    Args:
        low_precision: weights and activations of the forward and backward pass are bfloat16, sums of gradients float32
            (FSDP's own policy, by which gathered weights are half as many bytes; autocast would gather float32).
        compile: compile each block.
        float8: products of blocks are float8, where their widths (as tensor parallelism leaves them) allow it.
    """

    low_precision: bool = False
    compile: bool = False
    float8: bool = False


RECOMPUTE = {"none": None, "blocks": whole, "selective": selective}
"""What `trainer.activation_checkpointing` may be."""


def checkpoint_activations(model: nn.Module, choice: str, every: int) -> None:
    """Has each `every`-th block of each stack keep less for the backward pass, as `choice` (of `RECOMPUTE`) says.

    Raises:
        UserError: no part of the model is a stack of blocks.
    """
    stacks = [module for module in model.modules() if isinstance(module, Stack)]
    if choice != "none" and not stacks:
        raise UserError(
            f"trainer.activation_checkpointing={choice}, but {type(model).__name__} has no stack of blocks to compute "
            "again: leave it at none"
        )
    for stack in stacks:
        stack.recompute(RECOMPUTE[choice], every)


def parallelise(model: nn.Module, mesh: Mesh, sharding: Sharding) -> dict[str, Cut]:
    """Changes `model` in place; returns how tensor parallelism cut its parameters, by name.

    Raises:
        UserError: see `share_products`.
    """
    cuts = share_products(model, mesh.group("tensor")) if mesh.grid.tensor > 1 else {}
    stacks = [module for module in model.modules() if isinstance(module, Stack)]
    if sharding.float8:
        use_float8(stacks)
    if sharding.compile:
        for stack in stacks:
            for block in stack.blocks:
                block.compile()
    if mesh.grid.data > 1 or mesh.grid.shard > 1:
        _shard(model, stacks, mesh, sharding)
    return cuts


def _shard(model: nn.Module, stacks: list[Stack], mesh: Mesh, sharding: Sharding) -> None:
    """Each block, and each part of the model with what is not in its blocks, is gathered and let go by itself."""
    policy = MixedPrecisionPolicy()
    if sharding.low_precision:
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32, output_dtype=torch.float32
        )
    # A scale or a bias that is one number cannot be sharded: each process holds it (`Sharded.reduce_gradients`).
    whole = {parameter for parameter in model.parameters() if parameter.ndim == 0}
    blocks = [block for stack in stacks for block in stack.blocks]
    for unit in [*blocks, *outermost(model)]:
        fully_shard(
            unit, mesh=mesh.sharding, reshard_after_forward=True, mp_policy=policy,
            ignored_params={parameter for parameter in unit.parameters() if parameter in whole},
        )  # fmt: skip


def outermost(model: nn.Module) -> list[nn.Module]:
    """The parts that a model calls by themselves: towers, projections, a head. A model is entered by more ways than one
    (`forward`, `embed`), so its parts are gathered and let go, and not the model.
    """
    found = []
    for child in model.children():
        inner = list(child.children()) if isinstance(child, nn.ModuleDict | nn.ModuleList) else [child]
        found += [part for part in inner if any(True for _ in part.parameters())]
    return found
