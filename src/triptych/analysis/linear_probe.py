"""Linear and few-shot probes: how well a straight line tells classes apart by features that stand still."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

STRENGTHS = (1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Penalties to choose from, strongest first."""
HELD_BACK = 0.2
_STEPS = 200


@dataclass(frozen=True)
class Probe:
    """A linear classifier of standardised features.

    Args:
        weight: in float64, as all numbers here.
        bias: one a class.
        mean: of each feature in the samples that it was fitted on.
        scale: their standard deviation.
        strength: of the penalty.
    """

    weight: Float[Tensor, "classes dim"]
    bias: Float[Tensor, " classes"]
    mean: Float[Tensor, " dim"]
    scale: Float[Tensor, " dim"]
    strength: float

    def __call__(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, "samples classes"]:
        """Logits, on the device of the probe."""
        standard = (features.to(self.weight) - self.mean) / self.scale
        return torch.addmm(self.bias, standard, self.weight.T)


def fit_probe(
    features: Float[Tensor, "samples dim"],
    labels: Int[Tensor, " samples"],
    num_classes: int,
    strength: float,
    start: Probe | None = None,
) -> Probe:
    """Logistic regression: the least mean cross-entropy plus ``strength / 2`` times the squared weights, without the
    bias, by L-BFGS (as the linear probes of Radford et al., 2021, whose ``C`` is ``1 / (samples * strength)``).

    Features are standardised first, by their own mean and deviation. `start` is a probe of the same features to go on
    from.
    """  # fmt: skip
    wide = features.double()
    mean, scale = wide.mean(dim=0), wide.std(dim=0, correction=0)
    scale = torch.where(scale > 1e-12, scale, 1.0)  # a constant feature stays at 0
    standard = (wide - mean) / scale
    weight = torch.zeros(num_classes, wide.shape[1], dtype=torch.float64, device=wide.device)
    bias = torch.zeros(num_classes, dtype=torch.float64, device=wide.device)
    if start is not None:
        weight, bias = start.weight.clone(), start.bias.clone()
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=_STEPS, tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(torch.addmm(bias, standard, weight.T), labels)
        loss = loss + strength / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # pyright: ignore[reportArgumentType]: LBFGS takes a closure that gives a tensor
    return Probe(weight.detach(), bias.detach(), mean, scale, strength)


def linear_probe(
    features: Float[Tensor, "samples dim"], labels: Int[Tensor, " samples"], num_classes: int, seed: int = 0
) -> Probe:
    """A probe whose penalty is chosen on an inner split of the given samples, then fitted on all of them.

    A fifth of each class (one sample at least, none of a class that has a single one) is held back for the choice,
    drawn by `seed`; of equal accuracies the stronger penalty wins. Where no class has two samples there is
    nothing to choose by, and the strongest is taken, which tells samples by the mean of their class.
    """
    held = _held_back(labels.cpu().numpy(), seed)
    if not held.any():
        return fit_probe(features, labels, num_classes, STRENGTHS[0])
    inner, outer = torch.from_numpy(~held).to(labels.device), torch.from_numpy(held).to(labels.device)
    best, chosen, probe = -1.0, STRENGTHS[0], None
    for strength in STRENGTHS:
        probe = fit_probe(features[inner], labels[inner], num_classes, strength, probe)
        accuracy = float((probe(features[outer]).argmax(1) == labels[outer]).double().mean())
        if accuracy > best:
            best, chosen = accuracy, strength
    return fit_probe(features, labels, num_classes, chosen)


def draw_shots(labels: Int[np.ndarray, " samples"], shots: int, seed: int) -> Int[np.ndarray, " drawn"]:
    """Places of so many samples of each class, drawn by `seed`; of a class that has fewer, all."""
    return np.sort(np.concatenate([rows[:shots] for rows in _shuffled(labels, seed)]))


def _held_back(labels: np.ndarray, seed: int) -> np.ndarray:
    held = np.zeros(len(labels), dtype=bool)
    for rows in _shuffled(labels, seed):
        held[rows[: min(max(1, round(HELD_BACK * len(rows))), len(rows) - 1)]] = True
    return held


def _shuffled(labels: np.ndarray, seed: int) -> list[np.ndarray]:
    """The places of each class that occurs, in an order drawn by `seed`."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
