"""Linear maps whose matrices lie over several processes, which all see the same tokens (Shoeybi et al., 2019,
"Megatron-LM").

A column-parallel map gives each process some of the outputs, a row-parallel one takes some of the inputs and adds up;
one of each is one exchange forwards and one backwards. They are plain parameters, not DTensors: the rows of a fused
query-key-value map that a process holds lie at three places of the whole, which no DTensor placement can say.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from triptych.nn.linear import FusedLinear, Linear
from triptych.nn.norm import LayerNorm, RMSNorm


class _Enter(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        total = grad_outputs[0].contiguous().clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None


class _Leave(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        total = x.contiguous().clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0], None


def enter(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """``x``, the same in all processes of the group, as each of them uses it for its own share: backwards, the
    gradients by all shares add up.
    """
    found: Any = _Enter.apply(x, group)
    return found


def leave(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The sum over the group of each process's ``x``; backwards, each gets the whole gradient."""
    found: Any = _Leave.apply(x, group)
    return found


class ColumnParallel(FusedLinear):
    """A linear map, fused or not, of which this process has some of the outputs of each split."""

    tensor_group: dist.ProcessGroup

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(enter(input, self.tensor_group))


class RowParallel(Linear):
    """A linear map of which this process has some of the inputs; the bias is added once, to the sum."""

    tensor_group: dist.ProcessGroup

    def forward(self, input: Tensor) -> Tensor:
        total = leave(self.product(input, self.weight, None), self.tensor_group)
        return total if self.bias is None else total + self.bias.to(total.dtype)


class SharedLayerNorm(LayerNorm):
    """A layer norm of each head, whose one gain all processes use for their own heads."""

    tensor_group: dist.ProcessGroup

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = (None if each is None else enter(each, self.tensor_group) for each in (self.weight, self.bias))
        return F.layer_norm(input, self.normalized_shape, weight, bias, self.eps)


class SharedRMSNorm(RMSNorm):
    """A root-mean-square norm of each head, whose one gain all processes use for their own heads."""

    tensor_group: dist.ProcessGroup

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, enter(self.weight, self.tensor_group), self.eps)


SHARED: dict[type[nn.Module], type[nn.Module]] = {LayerNorm: SharedLayerNorm, RMSNorm: SharedRMSNorm}


def become(module: nn.Module, kind: type[nn.Module], group: dist.ProcessGroup) -> None:
    """Makes a module one of another class over a group, in place: its parameters and hooks stay."""
    module.__class__ = kind
    module.tensor_group = group  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]


def keep(parameter: Tensor, dim: int, ranges: tuple[tuple[int, int], ...]) -> nn.Parameter:
    """A parameter with some ranges of `parameter` along a dimension only."""
    kept = torch.cat([parameter.detach().narrow(dim, start, stop - start) for start, stop in ranges], dim)
    return nn.Parameter(kept.contiguous(), requires_grad=parameter.requires_grad)
