"""What the losses keep for the backward pass, against the formulas as they are usually written."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from triptych.losses import contrastive, sigmoid_contrastive, softmax_contrastive
from triptych.losses.contrastive import PairLoss

from .conftest import scalar, unit

BATCH = 2048


def plain_softmax(first: Tensor, second: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    logits = scale.exp() * first @ second.T + bias
    labels = torch.arange(len(first))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def plain_sigmoid(first: Tensor, second: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    logits = scale.exp() * first @ second.T + bias
    return -F.logsigmoid(logits * (2 * torch.eye(len(first)) - 1)).sum() / len(first)


def saved_bytes(compute: Callable[[], Tensor]) -> tuple[int, Tensor]:
    """Bytes of the distinct memory that a graph keeps, and its result."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        result = compute()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()), result


# The widest embeddings that an eighth has room for: gradients of both take 8 B D bytes, the plain forms 8 B^2 + 12 B D
# (two of log-probabilities) and 12 B^2 + 12 B D (signs, signed logits and a buffer), so D <= 2 B / 13 and 3 B / 13.
@pytest.mark.parametrize(
    ("loss", "plain", "dim"),
    [
        (softmax_contrastive, plain_softmax, 64),
        (softmax_contrastive, plain_softmax, 2 * BATCH // 13),
        (sigmoid_contrastive, plain_sigmoid, 64),
        (sigmoid_contrastive, plain_sigmoid, 3 * BATCH // 13),
    ],
)
def test_keeps_an_eighth_of_the_plain_form_and_gives_its_gradients(
    loss: Callable[..., Tensor], plain: Callable[..., Tensor], dim: int
) -> None:
    first, second = unit(BATCH, dim, 0, torch.float32), unit(BATCH, dim, 1, torch.float32)
    scale, bias = scalar(math.log(20.0), torch.float32), scalar(-5.0, torch.float32)
    own, value = saved_bytes(lambda: contrastive([first, second], scale, bias, loss=partial(loss, tile=256)))
    theirs, expected = saved_bytes(lambda: plain(first, second, scale, bias))
    assert own <= theirs / 8
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
    found, wanted = (torch.autograd.grad(each, [first, second, scale, bias]) for each in (value, expected))
    for gradient, other in zip(found, wanted, strict=True):
        assert (gradient - other).norm() <= 1e-6 * max(other.norm(), torch.tensor(1e-2))


@pytest.mark.parametrize("loss", [softmax_contrastive, sigmoid_contrastive])
@pytest.mark.parametrize("tile", [100, None])
def test_keeps_the_gradients_of_the_embeddings_and_nothing_beside(loss: PairLoss, tile: int | None) -> None:
    """At any width, so also where that is more than an eighth: see the arithmetic above."""
    count, dim = 300, 512
    features = [unit(count, dim, seed, torch.float32) for seed in range(2)]
    scale, bias = scalar(3.0, torch.float32), scalar(-5.0, torch.float32)
    kept, _ = saved_bytes(lambda: contrastive(features, scale, bias, loss=partial(loss, tile=tile)))
    assert 0 <= kept - 2 * count * dim * 4 <= 64


@pytest.mark.parametrize("tile", [1, 7, 64, None])
@pytest.mark.parametrize("loss", [softmax_contrastive, sigmoid_contrastive])
def test_the_tile_changes_nothing(loss: PairLoss, tile: int | None) -> None:
    features, scale, bias = [unit(60, 8, 0), unit(60, 8, 1)], scalar(3.0), scalar(-5.0)
    wanted, found = (
        torch.autograd.grad(contrastive(features, scale, bias, loss=partial(loss, tile=size)), [*features, scale, bias])
        for size in (1000, tile)
    )
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)


def test_nothing_is_kept_where_no_gradient_is_wanted() -> None:
    features = [unit(5, 4, seed).detach() for seed in range(2)]
    kept, value = saved_bytes(lambda: contrastive(features, torch.tensor(1.0)))
    assert kept == 0
    assert not value.requires_grad


@pytest.mark.parametrize("loss", [softmax_contrastive, sigmoid_contrastive])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_value_is_the_same_without_gradients(loss: PairLoss, mode: Callable[[], Any]) -> None:
    features, scale, bias = [unit(9, 4, 0), unit(9, 4, 1)], scalar(1.0), scalar(-2.0)
    expected = contrastive(features, scale, bias, loss=loss)
    with mode():
        value = contrastive([each * 1 for each in features], scale, bias, loss=loss)
    assert not value.requires_grad
    torch.testing.assert_close(value, expected.detach())
