"""Floating-point operations of a model, counted."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def forward_flops(module: nn.Module, call: Callable[[], Any]) -> int:
    """FLOPs (a multiply-add is two) of the matrix products, convolutions and attention in one `call()` of a module.

    The module runs once in evaluation mode, without gradients and eagerly, so what is counted is the whole model: no
    dropped samples, no dropped patches. Modes and random generators are put back as they were.
    """
    modes = {part: part.training for part in module.modules()}
    module.eval()
    devices = sorted({part.device.index for part in module.parameters() if part.is_cuda})
    counter = FlopCounterMode(display=False)
    try:
        # The fused attention of the CPU has no entry in the counter's table; plain matrix products have.
        with (
            torch.no_grad(),
            torch.random.fork_rng(devices),
            torch.compiler.set_stance("force_eager"),
            sdpa_kernel(SDPBackend.MATH),
            counter,
        ):
            call()
    finally:
        for part, training in modes.items():
            part.training = training
    return counter.get_total_flops()


def model_flops_utilisation(
    flops_per_sample: int, samples_per_second: float, peak_flops: float, devices: int, passes: int = 3
) -> float:
    """Share of the devices' peak that goes into the model itself (PaLM, arXiv 2204.02311, appendix B).

    A training step counts as three forward passes: one forward, and a backward of twice its work.

    Args:
        flops_per_sample: of a forward pass.
        samples_per_second: over all devices.
        peak_flops: FLOP/s of one device.
        devices: how many.
        passes: forward passes that the work on a sample is worth: 3 for training, 1 for inference.
    """
    return passes * flops_per_sample * samples_per_second / (peak_flops * devices)
