"""The losses against open_clip's, where it is installed."""

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.losses import contrastive, sigmoid_contrastive, softmax_contrastive

open_clip: Any = pytest.importorskip("open_clip.loss")


@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 40), dim=st.integers(2, 32), scale=st.floats(0.0, 4.6), seed=st.integers(0, 999))
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_loss_and_gradients_equal_open_clips(kind: str, count: int, dim: int, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(2, count, dim, generator=generator, dtype=torch.float64)
    first, second = torch.nn.functional.normalize(drawn, dim=-1)
    inputs = [each.clone().requires_grad_() for each in (first, second, torch.tensor(scale).double())]
    bias = torch.tensor(-10.0, dtype=torch.float64)
    if kind == "softmax":
        theirs = open_clip.ClipLoss()(inputs[0], inputs[1], inputs[2].exp())
        ours = contrastive(inputs[:2], inputs[2], loss=partial(softmax_contrastive, tile=7))
    else:
        theirs = open_clip.SigLipLoss()(inputs[0], inputs[1], inputs[2].exp(), bias)
        ours = contrastive(inputs[:2], inputs[2], bias, loss=partial(sigmoid_contrastive, tile=7))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    wanted, found = (torch.autograd.grad(each, inputs) for each in (theirs, ours))
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-11)
