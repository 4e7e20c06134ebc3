"""Which stage of a pipeline has which part of a model, and a model that has only the parts of one stage.

Each stage has consecutive blocks of every tower. The first has what comes before the blocks too (patches, positions,
tokens), the last what comes after them (norm, pool, head, projections, scales). Whatever is gone keeps its name and
its place: a block is `Elsewhere`, a parameter is zeros that take no memory. So each stage can run a model's own code
from the input to the loss, which tells it how the tokens lie and costs little: all the work is in the blocks.
"""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from triptych.errors import UserError
from triptych.nn.stack import Stack
from triptych.parallel.link import Link, StagedStack

TOWER, TOWERS = "tower", "towers"


class Elsewhere(nn.Module):
    """A block that another stage has."""

    def forward(self, *given: Any) -> Tensor:
        """Raises RuntimeError."""
        raise RuntimeError("this block of the stack is in another process of the pipeline")


def blocks_of(depth: int, stage: int, stages: int) -> range:
    """The blocks of a stage; where the stages do not divide the depth, the later ones have one more, as the earlier
    ones keep the activations of more micro-batches.
    """
    return range(depth * stage // stages, depth * (stage + 1) // stages)


def stacks_of(model: nn.Module, stages: int) -> dict[str, Stack]:
    """The stack of each tower of a model, by its path.

    Raises:
        UserError: a tower that is no stack of blocks, or has fewer than one for each stage.
    """
    towers = {path: module for path, module in model.named_children() if path == TOWER}
    parts = getattr(model, TOWERS, None)
    if isinstance(parts, nn.ModuleDict):
        towers |= {f"{TOWERS}.{name}": module for name, module in parts.items()}
    found = {}
    for path, tower in towers.items():
        stacks = {name: module for name, module in tower.named_modules() if isinstance(module, Stack)}
        if len(stacks) != 1:
            raise UserError(
                f"trainer.pipeline={stages} cuts towers between their blocks, but model.{path} is a "
                f"{type(tower).__name__}, which has no such blocks: choose another tower, or trainer=ddp or "
                "trainer=fsdp"
            )
        ((name, stack),) = stacks.items()
        if len(stack.blocks) < stages:
            raise UserError(
                f"trainer.pipeline={stages}, but model.{path} has a depth of {len(stack.blocks)} blocks, less than one "
                f"for each stage: set trainer.pipeline and trainer.devices to {len(stack.blocks)} or less"
            )
        found[f"{path}.{name}"] = stack
    if not found:
        raise UserError(
            f"trainer.pipeline={stages} cuts towers between their blocks, but {type(model).__name__} has no tower: "
            "take trainer=ddp or trainer=fsdp"
        )
    return found


def stage_of_each(model: nn.Module, stages: int) -> dict[str, int]:
    """The stage that has a parameter or buffer, by its name.

    Raises:
        UserError: see `stacks_of`; a parameter that two stages would need.
    """
    stacks = stacks_of(model, stages)
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    found = {name: _stage_of(name, stacks, stages) for name, _ in tensors}
    first: dict[int, str] = {}
    for name, tensor in tensors:
        other = first.setdefault(id(tensor), name)
        if found[other] != found[name]:
            raise UserError(
                f"trainer.pipeline={stages} would have {other} in stage {found[other]} and {name} in stage "
                f"{found[name]}, but they are one tensor: take trainer=ddp or trainer=fsdp"
            )
    return found


def _stage_of(name: str, stacks: dict[str, Stack], stages: int) -> int:
    for path, stack in stacks.items():
        tower = path.removesuffix("stack")
        if name.startswith(f"{path}.blocks."):
            number = int(name.removeprefix(f"{path}.blocks.").partition(".")[0])
            depth = len(stack.blocks)
            return next(stage for stage in range(stages) if number in blocks_of(depth, stage, stages))
        if name.startswith(tower) and not name.startswith((f"{path}.", f"{tower}pool.")):
            return 0
    return stages - 1


def stage_stacks(model: nn.Module, link: Link, trained: Collection[str]) -> None:
    """Makes the stacks of a whole model, in place, ones of which a process runs some blocks; `trained` are the names of
    the parameters that get gradients.

    Raises:
        UserError: see `stage_of_each`.
    """
    stage_of = stage_of_each(model, link.stages)
    for path, stack in stacks_of(model, link.stages).items():
        tower = path.removesuffix("stack")
        learning = {stage_of[name] for name in trained if name.startswith(tower)}
        stack.__class__ = StagedStack
        assert isinstance(stack, StagedStack)
        stack.link, stack.own = link, blocks_of(len(stack.blocks), link.stage, link.stages)
        stack.arrives_learning = any(stage < link.stage for stage in learning)
        stack.leaves_learning = any(stage <= link.stage for stage in learning)


def keep_stage(model: nn.Module, stage: int, stages: int, device: torch.device) -> None:
    """Takes away from a model, in place, what other stages have; zeros are on `device`.

    Raises:
        UserError: see `stage_of_each`.
    """
    stage_of = stage_of_each(model, stages)
    for stack in stacks_of(model, stages).values():
        for number in range(len(stack.blocks)):
            if number not in blocks_of(len(stack.blocks), stage, stages):
                stack.blocks[number] = Elsewhere()
    for path, module in model.named_modules():
        start = f"{path}." if path else ""
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if stage_of[f"{start}{name}"] != stage:
                delattr(module, name)
                zeros = torch.zeros((), dtype=parameter.dtype, device=device).expand(parameter.shape)
                module.register_buffer(name, zeros, persistent=False)
            # Buffers that are saved are saved by their own stage.
        for name, buffer in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            if stage_of.get(f"{start}{name}", stage) != stage:
                module.register_buffer(name, buffer, persistent=False)
