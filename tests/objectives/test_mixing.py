"""Mixing: the same draw for the same step, targets that add up, and nobody else's random numbers disturbed."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from triptych.errors import UserError
from triptych.objectives.mixing import BatchMix


def batch(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, 3, 6, 6, generator=generator), torch.randint(4, (count,), generator=generator)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 6), step=st.integers(0, 10**6), seed=st.integers(0, 2**32 - 1))
def test_a_draw_depends_on_seed_and_step_only(count: int, step: int, seed: int) -> None:
    mix, (images, labels) = BatchMix(mixup=0.8, cutmix=1.0, seed=seed), batch(count)
    torch.manual_seed(1)
    first = mix(images, labels, 4, step)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    torch.manual_seed(2)
    for left, right in zip(first, mix(images, labels, 4, step), strict=True):
        assert torch.equal(left, right)
    torch.testing.assert_close(first[1].sum(-1), torch.ones(count))


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0)])
def test_steps_and_seeds_differ(mixup: float, cutmix: float) -> None:
    images, labels = batch(5)
    mixed = [BatchMix(mixup, cutmix, seed=seed)(images, labels, 4, step)[0] for seed, step in [(0, 0), (0, 1), (1, 0)]]
    assert not torch.equal(mixed[0], mixed[1])
    assert not torch.equal(mixed[0], mixed[2])


def test_mixup_weighs_images_and_targets_alike() -> None:
    images, labels = torch.eye(2).view(2, 1, 1, 2), torch.tensor([0, 1])
    mixed, targets = BatchMix(mixup=1.0)(images, labels, 2, 3)
    torch.testing.assert_close(mixed.view(2, 2), targets)


def test_one_sample_stays_as_it_is() -> None:
    images, labels = batch(1)
    mixed, targets = BatchMix(mixup=1.0)(images, labels, 4, 0)
    assert torch.equal(mixed, images)
    assert targets.argmax(-1) == labels


def test_a_share_of_the_batches_is_mixed() -> None:
    images, labels = batch(3)
    mix = BatchMix(mixup=1.0, probability=0.25)
    mixed = sum(not torch.equal(mix(images, labels, 4, step)[0], images) for step in range(200))
    assert 25 <= mixed <= 75
    assert torch.equal(BatchMix(mixup=1.0, probability=0.0)(images, labels, 4, 0)[0], images)


def test_rows_of_several_labels_are_mixed_as_rows() -> None:
    images, _ = batch(2)
    _, targets = BatchMix(mixup=1.0)(images, torch.tensor([[1.0, 1.0], [0.0, 1.0]]), 2, 1)
    torch.testing.assert_close(targets[:, 1], torch.ones(2))
    assert 0 < targets[0, 0] < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "mixup and mix.cutmix are both 0"),
        ({"mixup": -1.0}, "mix.mixup is -1.0"),
        ({"cutmix": float("nan")}, "mix.cutmix is nan"),
        ({"mixup": 1.0, "probability": 1.5}, "probability is 1.5"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        BatchMix(**arguments)
