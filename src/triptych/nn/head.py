"""Heads that are more than one linear map. A factory is called as ``head(width, num_classes)``."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from triptych.nn.linear import Linear


class DistilledHead(nn.Module):
    """The mean of two classifiers, of the class token and of the distillation token, which lie side by side as
    `DistilledPool` gives them (Touvron et al., 2020, "DeiT").

    In the paper's training the two have targets of their own; what is trained here is their mean.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.out_features = num_classes
        self.of_class = Linear(width // 2, num_classes)
        self.of_distillation = Linear(width // 2, num_classes)

    def forward(self, x: Float[Tensor, "samples width"]) -> Float[Tensor, "samples classes"]:
        first, second = x.chunk(2, dim=-1)
        return (self.of_class(first) + self.of_distillation(second)) / 2


class NormedHead(nn.Module):
    """A norm and a linear map, as AST has them (Gong et al., 2021)."""

    def __init__(self, width: int, num_classes: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.out_features = num_classes
        self.norm = norm(width)
        self.linear = Linear(width, num_classes)

    def forward(self, x: Float[Tensor, "samples width"]) -> Float[Tensor, "samples classes"]:
        return self.linear(self.norm(x))
