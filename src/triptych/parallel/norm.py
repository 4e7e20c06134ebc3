"""The norm of gradients that lie over several processes."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from triptych.parallel.pieces import LAYOUTS, local


def total_norm(parameters: Sequence[Tensor], device: torch.device) -> Float[Tensor, ""]:
    """The Euclidean norm of the gradients of all parameters of the model, each element counted once however many
    processes hold it; the same number in all of them.
    """
    counted = [
        local(parameter.grad) for parameter in parameters
        if parameter.grad is not None and LAYOUTS[parameter].own.writes
    ]  # fmt: skip
    squares = torch.zeros((), dtype=torch.float64, device=device)
    if counted := [each for each in counted if each.numel()]:
        norms = torch._foreach_norm(counted)  # pyright: ignore[reportPrivateImportUsage]
        squares += torch.stack(list(norms)).double().square().sum()
    dist.all_reduce(squares)
    return squares.sqrt().float()


def scale_gradients(parameters: Sequence[Tensor], norm: Tensor, most: float) -> None:
    """Brings the norm of the gradients down to `most`, by the formula of `torch.nn.utils.clip_grad_norm_`."""
    gradients = [local(parameter.grad) for parameter in parameters if parameter.grad is not None]
    if gradients:
        torch._foreach_mul_(gradients, (most / (norm + 1e-6)).clamp(max=1.0))  # pyright: ignore[reportPrivateImportUsage]
