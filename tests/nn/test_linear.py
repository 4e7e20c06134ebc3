"""The faster kernel computes what PyTorch's own linear map does, to every derivative, and is counted alike."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from triptych.nn.linear import FusedLinear, Linear


@pytest.mark.parametrize("shape", [(7, 6), (2, 3, 6), (2, 2, 2, 6), (6,), (0, 6)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("needs_input", [True, False])
def test_output_and_gradients(shape: tuple[int, ...], bias: bool, needs_input: bool) -> None:
    part = Linear(6, 5, bias)
    x = torch.randn(shape, requires_grad=needs_input)
    results = []
    for out in (part(x), F.linear(x, part.weight, part.bias)):
        leaves = [*part.parameters(), *([x] if needs_input else [])]
        results.append([out, *torch.autograd.grad((out * torch.arange(5.0)).sum(), leaves)])
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)


def test_strided_inputs() -> None:
    part, x = Linear(6, 5), torch.randn(4, 3, 12)
    for view in (x[..., ::2], x[..., :6], x.transpose(0, 1)[..., 3:9]):
        torch.testing.assert_close(part(view), F.linear(view, part.weight, part.bias), rtol=1e-5, atol=1e-6)


def test_second_derivatives() -> None:
    part, x = Linear(6, 5), torch.randn(4, 6, requires_grad=True)

    def penalty(out: torch.Tensor) -> torch.Tensor:
        (slope,) = torch.autograd.grad(out.tanh().sum(), x, create_graph=True)
        (result,) = torch.autograd.grad(slope.square().sum(), part.weight)
        return result

    expected = penalty(F.linear(x, part.weight, part.bias))
    torch.testing.assert_close(penalty(part(x)), expected, rtol=1e-4, atol=1e-5)


def test_gradients_of_single_samples() -> None:
    part, x = Linear(6, 5), torch.randn(3, 2, 6)
    weights: dict[str, torch.Tensor] = dict(part.named_parameters())

    def loss(parameters: dict[str, torch.Tensor], sample: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(part, parameters, (sample,)).square().sum()

    got = torch.func.vmap(torch.func.grad(loss), (None, 0))(weights, x)["weight"]
    alone = torch.stack([torch.autograd.grad(loss(weights, s), part.weight)[0] for s in x])
    torch.testing.assert_close(got, alone, rtol=1e-4, atol=1e-5)


def test_flops_are_counted_as_those_of_a_plain_map() -> None:
    def flops(part: nn.Module) -> int:
        with FlopCounterMode(display=False) as counter:
            part(torch.randn(3, 4, 16, requires_grad=True)).sum().backward()
        return counter.get_total_flops()

    assert flops(Linear(16, 8)) == flops(nn.Linear(16, 8)) == 3 * 2 * 12 * 16 * 8


def test_other_types_take_the_usual_road() -> None:
    part, x = Linear(6, 5), torch.randn(4, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert part(x).dtype == torch.bfloat16
    assert part.double()(x.double()).dtype == torch.float64


def test_fused_parts_are_the_single_maps() -> None:
    fused, x = FusedLinear(6, (4, 2, 2)), torch.randn(3, 6)
    for out, weight, bias in zip(
        fused.parts(x), fused.weight.split([4, 2, 2]), fused.bias.split([4, 2, 2]), strict=True
    ):
        torch.testing.assert_close(out, F.linear(x, weight, bias))


@pytest.mark.parametrize(
    "biased", [(True, False, True), (False, True, False), (True, True, True), (False, False, False)]
)
def test_some_maps_of_a_fused_one_may_have_a_bias_alone(biased: tuple[bool, ...]) -> None:
    fused = FusedLinear(6, (4, 3, 5), biased)
    x = torch.randn(7, 6)
    biases = (
        []
        if fused.bias is None
        else list(fused.bias.split([n for n, has in zip((4, 3, 5), biased, strict=True) if has]))
    )
    for part, weight, has in zip(fused.parts(x), fused.weight.split((4, 3, 5)), biased, strict=True):
        torch.testing.assert_close(part, x @ weight.T + (biases.pop(0) if has else 0), rtol=1e-5, atol=1e-5)
    fused(x).sum().backward()
    if fused.bias is not None:
        torch.testing.assert_close(fused.bias.grad, torch.full_like(fused.bias, 7.0))
