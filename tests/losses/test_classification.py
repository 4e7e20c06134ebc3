"""Losses: what they equal, and what they refuse."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from triptych.errors import UserError
from triptych.losses import binary_cross_entropy, softmax_cross_entropy


def random_logits(batch: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch * 100 + classes)
    return torch.randn(batch, classes, generator=generator), torch.randint(classes, (batch,), generator=generator)


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 6), classes=st.integers(2, 7), smoothing=st.floats(0.0, 0.9))
def test_softmax_on_numbers_equals_softmax_on_their_rows(batch: int, classes: int, smoothing: float) -> None:
    logits, labels = random_logits(batch, classes)
    rows = F.one_hot(labels, classes).float()
    smoothed = (1 - smoothing) * rows + smoothing / classes
    expected = -(smoothed * logits.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(softmax_cross_entropy(logits, labels, smoothing), expected)
    torch.testing.assert_close(softmax_cross_entropy(logits, rows, smoothing), expected)


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 6), classes=st.integers(2, 7), smoothing=st.floats(0.0, 0.9))
def test_binary_smoothing_moves_each_target_towards_a_half(batch: int, classes: int, smoothing: float) -> None:
    logits, labels = random_logits(batch, classes)
    rows = F.one_hot(labels, classes).float()
    target = (1 - smoothing) * rows + smoothing / 2
    expected = -(target * F.logsigmoid(logits) + (1 - target) * F.logsigmoid(-logits)).mean()
    torch.testing.assert_close(binary_cross_entropy(logits, rows, smoothing), expected)
    torch.testing.assert_close(binary_cross_entropy(logits, labels, smoothing), expected)


@pytest.mark.parametrize("loss", [softmax_cross_entropy, binary_cross_entropy])
def test_half_precision_logits_give_a_float32_loss(loss: type) -> None:
    logits, labels = random_logits(4, 3)
    value = loss(logits.bfloat16(), labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(logits.bfloat16().float(), labels))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(logits.bfloat16(), labels).dtype == torch.float32


def test_logits_that_say_nothing_cost_the_entropy_of_a_guess() -> None:
    labels = torch.tensor([0, 4])
    assert softmax_cross_entropy(torch.zeros(2, 5), labels).item() == pytest.approx(math.log(5))
    assert binary_cross_entropy(torch.zeros(2, 5), labels).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_smoothing_out_of_range_is_refused(smoothing: float) -> None:
    with pytest.raises(UserError, match=f"label_smoothing is {smoothing}.*at least 0 and below 1"):
        softmax_cross_entropy(torch.zeros(1, 2), torch.zeros(1, 2), smoothing)
