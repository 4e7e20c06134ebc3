"""The memory of a training step of any batch size, measured on the step itself."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from triptych.measure.memory import held_bytes, peak_bytes, saved_bytes


def step_memory(
    loss_of: Callable[[int], Tensor], model: nn.Module, optimizer: Optimizer, device: torch.device
) -> Callable[[int], int | None]:
    """A function from a batch size to the bytes of a training step, None where the device has no room for it.

    On a CUDA device each call makes the whole step and tells the most that was allocated. Elsewhere no allocator keeps
    count: it is what autograd saves for the backward pass, measured, and what training holds whatever the batch
    (weights, gradients, optimizer state); the scratch memory of single operations is not in it.

    Steps change the weights and draw random numbers: put both back afterwards where they matter.

    Args:
        loss_of: the loss of so many samples, a scalar with a graph.
        model: on ``device``.
        optimizer: over its parameters.
        device: of the step.
    """

    def step(size: int) -> None:
        loss_of(size).backward()
        optimizer.step()

    if device.type == "cuda":

        def on_device(size: int) -> int | None:
            taken = peak_bytes(lambda: step(size), device)
            optimizer.zero_grad()
            return taken

        on_device(1)  # makes the optimizer's state, which every later step holds
        return on_device

    step(1)
    held = held_bytes(model, optimizer)
    optimizer.zero_grad()
    parameters = list(model.parameters())
    return lambda size: held + saved_bytes(lambda: loss_of(size), parameters)


def measured_how(device: torch.device) -> str:
    """What `step_memory` counts on a device, in words."""
    if device.type == "cuda":
        return "the most that was allocated on the device"
    return "saved tensors, weights, gradients and optimizer state, without scratch memory"
