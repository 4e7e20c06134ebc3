"""Matrix products of blocks in float8, by torchao (Micikevicius et al., 2022, "FP8 Formats for Deep Learning")."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from triptych.errors import UserError
from triptych.nn.linear import Linear

MULTIPLE = 16
"""Widths must be divisible by this for the kernels of GPUs."""
CAPABILITY = (8, 9)
"""Of the first GPUs with float8 products: Ada, then Hopper."""


class Float8Product:
    """A linear map whose operands are scaled and rounded to float8 in both passes (dynamic scales, one for each
    tensor); sums, bias and result are as precise as the input. The weight itself stays as it is.

    Args:
        in_features: of the map.
        out_features: of the map.
        emulate: compute as such a GPU would, with other products: for tests on a CPU.
    """

    def __init__(self, in_features: int, out_features: int, emulate: bool = False) -> None:
        from torchao.float8 import Float8LinearConfig, convert_to_float8_training

        with torch.device("meta"):
            holder = nn.Sequential(nn.Linear(in_features, out_features, bias=False))
        # The number of tokens is an inner dimension in the backward pass, and need not be divisible.
        # It has no weight of its own: that of the map is lent to it for each call, whoever has cut or gathered it.
        convert_to_float8_training(holder, config=Float8LinearConfig(pad_inner_dim=True, emulate=emulate))
        self._map = holder.get_submodule("0")

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """``x`` of shape ``(*batch, in_features)`` to ``(*batch, out_features)``."""
        out = functional_call(self._map, {"weight": weight}, (x,))
        return out if bias is None else out + bias.to(out.dtype)


def use_float8(modules: Iterable[nn.Module], emulate: bool = False) -> int:
    """Has the linear maps in these modules compute in float8, where their widths allow it; returns how many do."""
    found = 0
    for module in modules:
        for part in module.modules():
            if isinstance(part, Linear) and part.in_features % MULTIPLE == part.out_features % MULTIPLE == 0:
                part.product = Float8Product(part.in_features, part.out_features, emulate)
                found += 1
    return found


def require_float8(device: torch.device) -> None:
    """Raises UserError where torchao is not installed, or the device has no float8 products."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < CAPABILITY:
        has = "a CPU" if device.type == "cpu" else f"{device.type}"
        if device.type == "cuda":
            has = "{} {}.{}".format(torch.cuda.get_device_name(device), *torch.cuda.get_device_capability(device))
        raise UserError(
            "trainer.precision=float8-mixed needs a GPU of compute capability "
            f"{CAPABILITY[0]}.{CAPABILITY[1]} or newer (Ada, Hopper), and this is {has}: take bf16-mixed"
        )
    try:
        import torchao.float8  # noqa: F401
    except ImportError as error:
        raise UserError(
            "trainer.precision=float8-mixed needs torchao: pip install 'triptych[float8]', or take bf16-mixed"
        ) from error
