"""Linear maps: one kernel choice for the CPU, and several maps of one input as one matrix product.

PyTorch's float32 matrix products on a CPU go to MKL, which on some processors (AMD's among them) is 10 to 25 percent
slower than the oneDNN that PyTorch carries as well and uses for convolutions. `Linear` takes oneDNN's product
forwards and for the gradient of the input, where it is the faster one; the gradient of the weight stays with MKL.
Everything else (other types, other devices, autocast, compilation, function transforms, subclasses of tensors) is
PyTorch's own `linear`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import flop_registry, register_flop_formula

# PyTorch's compiler emits this operator for a linear map; it has no name among the public ones.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


class Linear(nn.Linear):
    """`torch.nn.Linear`, by the faster kernel.

    ``product`` computes the map from input, weight and bias; one that is set on a module (`triptych.nn.float8`) takes
    the place of `linear` there.
    """

    product: Callable[[Tensor, Tensor, Tensor | None], Tensor]

    def forward(self, input: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch out_features"]:
        return self.product(input, self.weight, self.bias)


class FusedLinear(Linear):
    """Linear maps to ``splits`` outputs side by side in one weight (query-key-value, gate-up).

    The splits are known, so that the initialisation treats each as its own matrix, and an adapter or an importer can
    address one. ``bias`` says for all splits, or for each, whether it has one; ``bias`` of the module holds those that
    there are, end to end.
    """

    def __init__(self, in_features: int, splits: Sequence[int], bias: bool | Sequence[bool] = True) -> None:
        self.splits = list(splits)
        self.biased = [bias] * len(self.splits) if isinstance(bias, bool) else list(bias)
        super().__init__(in_features, sum(splits), any(self.biased))
        if self.bias is not None and not all(self.biased):
            kept = sum(size for size, has in zip(self.splits, self.biased, strict=True) if has)
            self.bias = nn.Parameter(self.bias.detach()[:kept].clone())

    def forward(self, input: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch out_features"]:
        return self.product(input, self.weight, self._whole_bias())

    def _whole_bias(self) -> Tensor | None:
        if self.bias is None or all(self.biased):
            return self.bias
        given = iter(self.bias.split([size for size, has in zip(self.splits, self.biased, strict=True) if has]))
        return torch.cat(
            [
                next(given) if has else self.bias.new_zeros(size)
                for size, has in zip(self.splits, self.biased, strict=True)
            ]
        )

    def parts(self, x: Float[Tensor, "*batch in_features"]) -> tuple[Tensor, ...]:
        """The outputs, one view for each split, of shape ``(*batch, split)``."""
        return torch.split(self(x), self.splits, dim=-1)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`torch.nn.functional.linear`, by the faster kernel."""
    if not _eligible(x, weight):
        return F.linear(x, weight, bias)
    return _OneDNNLinear.apply(x.flatten(0, -2), weight, bias).unflatten(0, x.shape[:-1])


Linear.product = staticmethod(linear)


def _eligible(x: Tensor, weight: Tensor) -> bool:
    return (
        _ONEDNN is not None
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and x.ndim > 1
        and x.numel() > 0
        and type(x) is Tensor
        and type(weight) in (Tensor, nn.Parameter)
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and not torch.is_autocast_enabled("cpu")
        and bool(torch.backends.mkldnn.enabled)
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    assert _ONEDNN is not None
    return _ONEDNN(x, weight, bias, "none", [], "")


class _OneDNNLinear(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _product(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        wanted = ctx.needs_input_grad
        of_input = None
        if wanted[0]:
            # A gradient that is to be differentiated again must be made of operators that can be.
            again = torch.is_grad_enabled()
            of_input = gradient @ weight if again else _product(gradient, weight.t(), None)
        return of_input, gradient.t() @ x if wanted[1] else None, gradient.sum(0) if wanted[2] else None


if _ONEDNN is not None and _ONEDNN not in flop_registry:

    @register_flop_formula(_ONEDNN)
    def _count(x: torch.Size, weight: torch.Size, *rest: Any, **named: Any) -> int:
        return 2 * x.numel() * weight[0]
