"""Gradient caching changes memory, and nothing else."""

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from triptych.losses import contrastive, sigmoid_contrastive, softmax_contrastive
from triptych.losses.contrastive import PairLoss
from triptych.objectives.batch import Batch, split
from triptych.objectives.gradient_cache import cached_backward

from ..distributed.toy_pairs import ToyPair, toy_pair, toy_pairs


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}


def at_once(model: ToyPair, chunks: Sequence[Batch], loss: PairLoss, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The graph of all micro-batches held: the loss, and the next draw of the random generator."""
    model.zero_grad()
    torch.manual_seed(5)
    features = [torch.cat(each) for each in zip(*map(model.features, chunks), strict=True)]
    value = contrastive(features, model.logit_scale, model.logit_bias, ids, loss)
    value.backward()
    return value.detach(), torch.rand(3)


def cached(model: ToyPair, chunks: Sequence[Batch], loss: PairLoss, ids: Tensor) -> tuple[Tensor, Tensor]:
    def compute(features: list[Tensor], shared: list[Tensor]) -> Tensor:
        return contrastive(features, shared[0], shared[1], ids, loss)

    model.zero_grad()
    torch.manual_seed(5)
    value = cached_backward(
        chunks, model.features, compute, [model.logit_scale, model.logit_bias], lambda part, last: part.backward()
    )
    return value, torch.rand(3)


@pytest.mark.parametrize("loss", [softmax_contrastive, sigmoid_contrastive])
@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_gradients_are_those_of_the_batch_with_all_randomness_on(pieces: int, loss: PairLoss) -> None:
    """Dropout, stochastic depth and patch dropout draw in both passes what they drew in the first."""
    model = toy_pair(dropout=True).double()
    batch = toy_pairs(8, 0)
    chunks = list(split(batch, 8 // pieces))
    expected = at_once(model, chunks, loss, batch["id"])
    wanted = {name: each.clone() for name, each in gradients(model).items()}
    found = cached(model, chunks, loss, batch["id"])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients(model), wanted, rtol=1e-9, atol=1e-12)
    # The randomness is there: other draws give other gradients.
    torch.manual_seed(6)
    other = contrastive([torch.cat(e) for e in zip(*map(model.features, chunks), strict=True)], model.logit_scale)
    assert other.item() != pytest.approx(found[0].item(), rel=1e-6)


@settings(max_examples=10, deadline=None)
@given(count=st.integers(1, 9), size=st.integers(1, 9), seed=st.integers(0, 99))
def test_any_split_gives_the_gradients_of_the_batch(count: int, size: int, seed: int) -> None:
    model, batch = toy_pair().double(), toy_pairs(count, seed)
    at_once(model, [batch], softmax_contrastive, batch["id"])
    wanted = {name: each.clone() for name, each in gradients(model).items()}
    cached(model, list(split(batch, size)), softmax_contrastive, batch["id"])
    torch.testing.assert_close(gradients(model), wanted, rtol=1e-8, atol=1e-11)


def test_autocast_does_not_lose_gradients_to_weights_cast_in_the_first_pass() -> None:
    model, batch = toy_pair(), toy_pairs(8, 0)
    found = []
    for run in (at_once, cached):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            run(model, list(split(batch, 2)), softmax_contrastive, batch["id"])
        found.append({name: each.clone() for name, each in gradients(model).items()})
    for name, gradient in found[0].items():
        assert (found[1][name] - gradient).norm() <= 2e-2 * gradient.norm() + 1e-6, name
        assert gradient.any() or name == "logit_bias", name


def test_only_one_micro_batch_has_a_graph_at_a_time() -> None:
    """Activations alive at once, counted by what the graph saves: with 8 micro-batches a fraction of those of one."""
    model, batch, alive = toy_pair(), toy_pairs(16, 0), [0]

    class Held:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor
            alive[0] += tensor.numel()

        def __del__(self) -> None:
            alive[0] -= self.tensor.numel()

    peaks: list[int] = []

    def pack(tensor: Tensor) -> Held:
        held = Held(tensor)
        peaks[-1] = max(peaks[-1], alive[0])
        return held

    run: Callable[..., object] = partial(cached, model, loss=partial(softmax_contrastive, tile=4), ids=batch["id"])
    for chunks in ([batch], list(split(batch, 2))):
        peaks.append(0)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
            run(chunks=chunks)
    assert 0 < peaks[1] < 0.4 * peaks[0]
