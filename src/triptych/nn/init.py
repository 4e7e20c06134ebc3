"""How every parameter starts, in one place.

================================  =====================================================================================
parameter                         start
================================  =====================================================================================
weight of a linear map            `glorot` (big_vision's ViT) or `small_normal` (BERT, timm's ViT)
bias of a linear map              0
weight of the patch embedding     normal, variance 1 / pixels, cut at two deviations (LeCun)
weight of a table of tokens       normal, deviation 0.02, cut at two deviations
weight of a projection            normal, variance 1 / inputs (`initialise_projection`), as CLIP has it
weight, bias of the head          0 (`initialise_head`), so training starts from equal odds
gain, bias of a norm              1, 0
gain of a LayerScale              its ``initial``
class token, registers,           normal, deviation 0.02, cut at two deviations
learned positions
latent of an attention pool       normal, variance 1 / dim, cut at two deviations
================================  =====================================================================================
"""

import math
from collections.abc import Callable

import torch
from torch import nn

from triptych.nn.block import LayerScale
from triptych.nn.linear import FusedLinear
from triptych.nn.norm import is_norm
from triptych.nn.patch import PatchEmbedding

TOKEN_DEVIATION = 0.02
TOKENS = ("class_token", "registers", "places", "prefix_places")


LinearInit = Callable[[nn.Linear], None]


@torch.no_grad()
def glorot(linear: nn.Linear) -> None:
    """Starts the weight normal, of variance 2 / (inputs + outputs), cut at two deviations (Glorot and Bengio, 2010).

    The maps in a `FusedLinear` count one by one, since each is a matrix of its own.
    """
    for matrix in linear.weight.split(linear.splits) if isinstance(linear, FusedLinear) else [linear.weight]:
        _normal(matrix, math.sqrt(2 / sum(matrix.shape)))


@torch.no_grad()
def small_normal(linear: nn.Linear, deviation: float = 0.02) -> None:
    """Starts the weight normal, of one deviation whatever its size, cut at two deviations."""
    _normal(linear.weight, deviation)


@torch.no_grad()
def initialise(module: nn.Module, linear: LinearInit = glorot) -> None:
    """Starts every parameter of ``module`` by the table above, the weights of linear maps by ``linear``.

    Raises TypeError, naming it, for a parameter that the table does not know, so that none is forgotten.
    """
    for path, part in module.named_modules():
        for name, parameter in part.named_parameters(recurse=False):
            if isinstance(part, nn.Linear):
                if name == "bias":
                    parameter.zero_()
                    continue
                linear(part)
            elif isinstance(part, nn.Conv2d):
                _normal(parameter, (2 / parameter[0].numel()) ** 0.5)  # He et al., 2015
            elif is_norm(part):
                parameter.fill_(0.0 if name == "bias" else 1.0)
            elif isinstance(part, LayerScale):
                parameter.fill_(part.initial)
            elif name in TOKENS or isinstance(part, nn.Embedding):
                _normal(parameter, TOKEN_DEVIATION)
            elif name == "latent":
                _normal(parameter, parameter.shape[-1] ** -0.5)
            else:
                raise TypeError(f"No rule says how {path}.{name} ({type(part).__name__}) starts; add one to the table.")
    for part in module.modules():
        if isinstance(part, PatchEmbedding):
            _normal(part.projection.weight, part.projection.in_features**-0.5)


@torch.no_grad()
def initialise_head(head: nn.Linear) -> None:
    """Starts a classification head at zero: every class equally likely."""
    head.weight.zero_()
    if head.bias is not None:
        head.bias.zero_()


@torch.no_grad()
def initialise_projection(projection: nn.Module) -> None:
    """Starts the linear maps of a projection so that they keep the size of what they are given."""
    for linear in projection.modules():
        if isinstance(linear, nn.Linear):
            _normal(linear.weight, linear.in_features**-0.5)
            if linear.bias is not None:
                linear.bias.zero_()


def _normal(parameter: torch.Tensor, deviation: float) -> None:
    nn.init.trunc_normal_(parameter, std=deviation, a=-2 * deviation, b=2 * deviation)
