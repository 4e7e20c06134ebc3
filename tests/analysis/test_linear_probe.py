"""Probes find the least of what they minimise, and choose their penalty without a look at what is measured."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from triptych.analysis.linear_probe import STRENGTHS, draw_shots, fit_probe, linear_probe


def blobs(samples: int, classes: int, dim: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(7))
    labels = torch.randint(classes, (samples,), generator=generator)
    return centres[labels] + noise * torch.randn(samples, dim, generator=generator), labels


@pytest.mark.parametrize("strength", [1.0, 1e-3])
def test_the_gradient_is_zero_where_it_stops(strength: float) -> None:
    features, labels = blobs(200, 4, 10, 2.0, 0)
    probe = fit_probe(features, labels, 4, strength)
    standard = (features.double() - features.double().mean(0)) / features.double().std(0, correction=0)
    weight, bias = probe.weight.clone().requires_grad_(), probe.bias.clone().requires_grad_()
    loss = F.cross_entropy(standard @ weight.T + bias, labels) + strength / 2 * weight.square().sum()
    for gradient in torch.autograd.grad(loss, [weight, bias]):
        assert gradient.abs().max() < 1e-5
    torch.testing.assert_close(probe(features), (standard @ probe.weight.T + probe.bias))


def test_features_of_any_scale_give_the_same_probe() -> None:
    features, labels = blobs(120, 3, 6, 1.0, 1)
    moved = torch.cat([features * torch.logspace(-3, 3, 6) + 5, torch.full((120, 1), 3.0)], dim=1)
    one, other = fit_probe(features, labels, 3, 0.01), fit_probe(moved, labels, 3, 0.01)
    torch.testing.assert_close(one(features), other(moved), atol=1e-3, rtol=1e-3)


def test_a_chosen_penalty_is_near_the_best_one_in_hindsight() -> None:
    features, labels = blobs(150, 5, 40, 3.0, 2)
    new, targets = blobs(2000, 5, 40, 3.0, 3)
    reached = [float((fit_probe(features, labels, 5, s)(new).argmax(1) == targets).float().mean()) for s in STRENGTHS]
    probe = linear_probe(features, labels, 5)
    accuracy = float((probe(new).argmax(1) == targets).float().mean())
    assert probe.strength in STRENGTHS
    assert accuracy > max(reached) - 0.05
    assert max(reached) - min(reached) > 0.05, "otherwise any penalty would do"


def test_one_sample_a_class_leaves_nothing_to_choose_by() -> None:
    features, labels = torch.randn(4, 8), torch.arange(4)
    probe = linear_probe(features, labels, 6)
    assert probe.strength == STRENGTHS[0]
    assert (probe(features).argmax(1) == labels).all()


def test_shots_are_so_many_of_each_class() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [10, 2, 7]))
    rows = draw_shots(labels, 4, 0)
    assert np.bincount(labels[rows]).tolist() == [4, 2, 0, 4]
    assert len(set(rows.tolist())) == len(rows)
    assert rows.tolist() == draw_shots(labels, 4, 0).tolist()
    assert rows.tolist() != draw_shots(labels, 4, 1).tolist()
