"""Contrastive losses: what they equal, and what they refuse."""

import math
from functools import partial
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from triptych.errors import UserError
from triptych.losses import contrastive, sigmoid_contrastive, softmax_contrastive
from triptych.losses.contrastive import PairLoss, adds_up

from .conftest import scalar, sigmoid_by_hand, softmax_by_hand, unit

SETTINGS = [(0.0, 1.0), (0.5, 1.0), (0.0, 0.0), (0.3, 0.4), (1.0, 0.0)]
LOSSES: list[PairLoss] = [
    softmax_contrastive, partial(softmax_contrastive, hardness=0.5, positive_weight=0.7), sigmoid_contrastive,
]  # fmt: skip


def gradients(loss: Tensor, *wanted: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(loss, wanted, allow_unused=True)
    return [torch.zeros_like(to) if each is None else each for each, to in zip(found, wanted, strict=True)]


@settings(max_examples=30, deadline=None)
@given(
    ids=st.lists(st.integers(0, 5), min_size=1, max_size=7), dim=st.integers(1, 6), seed=st.integers(0, 999),
    setting=st.sampled_from(SETTINGS), tile=st.integers(1, 8), scale=st.floats(-1.0, 3.0),
)  # fmt: skip
def test_softmax_equals_the_sum_written_pair_by_pair(
    ids: list[int], dim: int, seed: int, setting: tuple[float, float], tile: int, scale: float
) -> None:
    """Several positives, hard negatives, rows without any negative, any tile: the value and each gradient."""
    first, second, logit_scale = unit(len(ids), dim, seed), unit(len(ids), dim, seed + 1), scalar(scale)
    hardness, positive_weight = setting
    loss = partial(softmax_contrastive, hardness=hardness, positive_weight=positive_weight, tile=tile)
    value = contrastive([first, second], logit_scale, None, torch.tensor(ids), loss)
    expected = softmax_by_hand(first, second, ids, logit_scale, hardness, positive_weight)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    if not expected.requires_grad:  # no sample has a negative, and the positives do not count
        assert not any(g.any() for g in gradients(value, first, second, logit_scale))
        return
    found, wanted = (gradients(each, first, second, logit_scale) for each in (value, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    ids=st.lists(st.integers(0, 5), min_size=1, max_size=7), dim=st.integers(1, 6), seed=st.integers(0, 999),
    tile=st.integers(1, 8), scale=st.floats(-1.0, 3.0), bias=st.floats(-10.0, 1.0),
)  # fmt: skip
def test_sigmoid_equals_the_sum_written_pair_by_pair(
    ids: list[int], dim: int, seed: int, tile: int, scale: float, bias: float
) -> None:
    first, second = unit(len(ids), dim, seed), unit(len(ids), dim, seed + 1)
    logit_scale, logit_bias = scalar(scale), scalar(bias)
    loss = partial(sigmoid_contrastive, tile=tile)
    value = contrastive([first, second], logit_scale, logit_bias, torch.tensor(ids), loss)
    expected = sigmoid_by_hand(first, second, ids, logit_scale, logit_bias)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    found, wanted = (gradients(each, first, second, logit_scale, logit_bias) for each in (value, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_parts_of_the_rows_add_up_and_gradients_with_them(loss: PairLoss) -> None:
    """What lets each of several processes answer for its own samples."""
    features, scale, bias = [unit(7, 4, 0), unit(7, 4, 1)], scalar(2.0), scalar(-1.0)
    ids = torch.tensor([0, 1, 1, 2, 3, 0, 4])
    whole = contrastive(features, scale, bias, ids, loss)
    parts = [contrastive(features, scale, bias, ids, loss, rows) for rows in (range(3), range(3, 3), range(3, 7))]
    torch.testing.assert_close(torch.stack(parts).sum(), whole)
    wanted = gradients(whole, *features, scale, bias)
    summed = gradients(torch.stack(parts).sum(), *features, scale, bias)
    torch.testing.assert_close(summed, wanted)


@pytest.mark.parametrize("loss", LOSSES)
def test_three_modalities_count_every_pair_alike(loss: PairLoss) -> None:
    features, scale, bias = [unit(5, 4, seed) for seed in range(3)], scalar(1.0), scalar(0.0)
    pairs = [contrastive(list(pair), scale, bias, None, loss) for pair in combinations(features, 2)]
    torch.testing.assert_close(contrastive(features, scale, bias, None, loss), torch.stack(pairs).mean())


def test_without_ids_each_sample_is_its_own_positive() -> None:
    features, scale = [unit(4, 3, 0), unit(4, 3, 1)], scalar(1.0)
    own = contrastive(features, scale, ids=torch.tensor([9, 3, 7, 5]))
    torch.testing.assert_close(contrastive(features, scale), own)


def test_embeddings_that_say_nothing_cost_the_entropy_of_a_guess() -> None:
    same = torch.ones(8, 1)
    assert contrastive([same, same], torch.tensor(1.0)).item() == pytest.approx(math.log(8))
    nothing = contrastive([same, same], torch.tensor(-100.0), torch.tensor(0.0), loss=sigmoid_contrastive)
    assert nothing.item() == pytest.approx(8 * math.log(2))


def test_hard_negatives_pull_more_than_easy_ones() -> None:
    """The gradient by a negative that is near grows with `hardness`, that by a far one shrinks."""
    first = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(3, 2).contiguous()
    second = torch.tensor([[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0]], dtype=torch.float64).requires_grad_()
    pull = []
    for hardness in (0.0, 1.0):
        loss = partial(softmax_contrastive, hardness=hardness)
        (gradient,) = torch.autograd.grad(contrastive([first, second], scalar(0.0), loss=loss, rows=range(1)), second)
        pull.append(gradient.norm(dim=1))
    assert pull[1][1] > pull[0][1]
    assert pull[1][2] < pull[0][2]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_loss_is_exact_under_autocast(loss: PairLoss, dtype: torch.dtype) -> None:
    """At a scale of 100, on features as autocast makes them: the same value as in float64, and float32 gradients."""
    features = [unit(64, 32, seed, dtype) for seed in range(2)]
    scale, bias = scalar(math.log(100.0), torch.float32), scalar(-10.0, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = contrastive(features, scale, bias, loss=loss)
    exact = contrastive([each.double() for each in features], scale.double(), bias.double(), loss=loss)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=1e-4)
    found, wanted = (gradients(each, *features, scale, bias) for each in (value, exact))
    assert [each.dtype for each in found[:2]] == [dtype] * 2
    torch.testing.assert_close(found, wanted, rtol=1e-2 if dtype == torch.bfloat16 else 1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_logits_under_autocast_are_right_to_a_thousandth(precision: str) -> None:
    """At a scale of 100, also where float32 products may be rounded. One pair of ids that differ costs
    softplus(logit), which is the logit itself where that is large: 110 - 20 at least.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        query = unit(1, 512, 0, torch.bfloat16)
        scale, bias = scalar(math.log(100.0), torch.float32), scalar(110.0, torch.float32)
        for seed in range(20):
            key = unit(1, 512, seed, torch.bfloat16)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logit = sigmoid_contrastive(query, key, torch.tensor([0]), torch.tensor([1]), scale, bias) - 110
            exact = 100 * (query.double() @ key.double().T)
            assert (logit - exact).abs().item() <= 1e-3
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("loss", LOSSES)
def test_float16_overflow_of_a_logit_is_none_here(loss: PairLoss) -> None:
    features = [unit(4, 8, seed, torch.float16) for seed in range(2)]
    assert contrastive(features, scalar(math.log(1e5), torch.float32), loss=loss).isfinite()


def test_only_the_sigmoid_adds_up_over_parts_of_the_second() -> None:
    assert adds_up(sigmoid_contrastive)
    assert adds_up(partial(sigmoid_contrastive, tile=2))
    assert not adds_up(partial(softmax_contrastive, tile=2))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (partial(softmax_contrastive, tile=0), "tile is 0, but must be at least 1; null takes all rows at once"),
        (partial(sigmoid_contrastive, tile=-1), "tile is -1, but must be at least 1"),
        (partial(softmax_contrastive, hardness=-0.5), "hardness is -0.5, but must be at least 0"),
        (partial(softmax_contrastive, positive_weight=2.0), "positive_weight is 2.0, but must lie between 0 and 1"),
    ],
)
def test_settings_out_of_range_are_refused(loss: PairLoss, message: str) -> None:
    with pytest.raises(UserError, match=message):
        contrastive([unit(2, 2, 0), unit(2, 2, 1)], scalar(0.0), loss=loss)


def test_one_modality_has_nothing_to_compare_with() -> None:
    with pytest.raises(UserError, match="compares two modalities or more, but there are 1"):
        contrastive([unit(2, 2, 0)], scalar(0.0))
