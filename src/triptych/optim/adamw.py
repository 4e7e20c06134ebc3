"""AdamW (Loshchilov & Hutter 2019) over the groups of a model, in the fastest form that its device has."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from triptych.errors import UserError
from triptych.optim.groups import parameter_groups
from triptych.optim.layers import split_by_layer
from triptych.parallel.optimizer_state import split_whole

FUSED_DEVICES = frozenset(("cpu", "cuda", "mps", "xpu"))


def adamw(
    model: nn.Module,
    lr: float = 1e-3,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.05,
    fused: bool | None = None,
    layer_decay: float = 1.0,
) -> torch.optim.AdamW:
    """AdamW over the `decay` and `no_decay` groups of `model`.

    `weight_decay` is multiplied by the learning rate of the step, as torch does it. `fused=None` takes torch's fused
    kernel where all parameters live on a device that has it (on a CPU it is about 3 times as fast as the loop), True
    insists on it, False takes torch's default form. `layer_decay` below 1 lets layers near the input learn more slowly
    (`triptych.optim.layers`).
    """
    check_adam(lr, betas, eps, weight_decay)
    groups = split_whole(split_by_layer(model, parameter_groups(model, weight_decay), lr, layer_decay))
    parameters = [parameter for group in groups for parameter in group["params"]]
    return torch.optim.AdamW(
        groups, lr=lr, betas=(betas[0], betas[1]), eps=eps, fused=choose_fused(parameters, fused) or None
    )


def choose_fused(parameters: list[Tensor], fused: bool | None) -> bool:
    """Whether to use the fused kernel for these parameters; a UserError when it is demanded but not to be had."""
    able = all(parameter.device.type in FUSED_DEVICES and parameter.is_floating_point() for parameter in parameters)
    if fused and not able:
        devices = sorted({parameter.device.type for parameter in parameters})
        raise UserError(
            f"optimizer.fused=true, but the parameters are on {devices}; fused AdamW runs on {sorted(FUSED_DEVICES)}"
        )
    return able if fused is None else fused


def check_adam(lr: float, betas: Sequence[float], eps: float, weight_decay: float) -> None:
    """Raises UserError when a setting is out of its range, with the setting named."""
    if not lr > 0:
        raise UserError(f"optimizer.lr is {lr}, but must be above 0")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise UserError(f"optimizer.betas is {list(betas)}, but must be two numbers, each at least 0 and below 1")
    if not eps > 0:
        raise UserError(f"optimizer.eps is {eps}, but must be above 0")
    if not weight_decay >= 0:
        raise UserError(f"optimizer.weight_decay is {weight_decay}, but must be at least 0")
