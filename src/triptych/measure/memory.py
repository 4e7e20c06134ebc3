"""Bytes: what autograd keeps for a backward pass, what a step takes on a device, and sizes as people write them."""

import re
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.optim import Optimizer

from triptych.errors import UserError

_UNITS = {"": 1, "B": 1} | {
    f"{letter}{suffix}B": base**power
    for suffix, base in (("", 1000), ("i", 1024))
    for power, letter in enumerate("KMGT", start=1)
}


def parse_bytes(text: str | int, key: str = "memory") -> int:
    """``4GiB`` (1024s), ``500MB`` (1000s) or a plain number, in bytes.

    Raises UserError, naming the setting ``key``, for anything else and for nothing at all.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKMGT]?i?B|)", str(text).strip())
    unit = found[2][0].upper() + found[2][1:] if found and found[2] else ""
    size = int(float(found[1]) * _UNITS[unit]) if found and unit in _UNITS else 0
    if size < 1:
        raise UserError(
            f"{key}={text} is no amount of memory: write a number and a unit, such as {key}=4GiB or {key}=500MB, or "
            "bytes alone"
        )
    return size


def shown_bytes(count: float) -> str:
    """``3.2 GiB``, ``812 MiB``, ``40 KiB``."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.3g} {unit}" if count / size < 1000 else f"{count / size:.0f} {unit}"
    return f"{count:.0f} bytes"


def saved_bytes(forward: Callable[[], object], left_out: Iterable[Tensor] = ()) -> int:
    """Bytes that autograd keeps between the forward pass in ``forward()`` and its backward pass.

    Each storage is counted once, and whole, however many tensors look at it. The storages of ``left_out`` (the
    parameters of the model) are not counted: they are there anyway.
    """
    skipped = {tensor.untyped_storage().data_ptr() for tensor in left_out}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in skipped:
            # The storage stays alive in the table, so that no other one gets its address.
            kept[storage.data_ptr()] = storage
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    total = sum(storage.nbytes() for storage in kept.values())
    del result
    return total


def peak_bytes(step: Callable[[], object], device: torch.device) -> int | None:
    """The most bytes that tensors took on a CUDA device during ``step()``; None where it does not fit.

    Raises ValueError for a device that keeps no such count.
    """
    if device.type != "cuda":
        raise ValueError(f"the peak of a step is known of CUDA devices, not of {device}")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    try:
        step()
        torch.cuda.synchronize(device)
    except torch.OutOfMemoryError:
        return None
    finally:
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.empty_cache()
    return peak


def held_bytes(model: nn.Module, optimizer: Optimizer) -> int:
    """Bytes that training holds whatever the batch: weights, buffers, gradients, and the state of the optimizer.

    The optimizer has made a step, so that its state is there.
    """
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    tensors += [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())
