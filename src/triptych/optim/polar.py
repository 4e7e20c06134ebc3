"""The orthogonal direction of a matrix (its polar factor) by as few matrix products as will do.

Muon moves a matrix along the nearest orthogonal one of its momentum, found by a Newton-Schulz iteration: odd
polynomials ``a x + b x^3 + c x^5`` of the singular values, three matrix products each, that send all of them to about
1. Three things make it cheap:

- each step has the polynomial that is best for the interval that the steps before it leave (Amsel et al., 2025, "The
  Polar Express"), instead of one for all steps;
- the matrix is divided by its Schatten-4 norm, the fourth root of the sum of the fourth powers of its singular values.
  It is known after the first product, and a several times tighter bound of the largest one than the Frobenius norm;
- for a wide matrix the polynomials run on its small Gram matrix alone.
"""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

SPREAD = 0.3
"""How far from 1 a singular value may end, within the range that the steps are made for."""

ROUNDING = {torch.float32: 1.001, torch.bfloat16: 1.02}
"""Room for rounding at each step: above the interval that they are made for the polynomials grow steeply."""

GRAM_STEPS = 5
"""Each step on a Gram matrix multiplies the rounding error of its smallest eigenvalues by up to 70: no more than that.
"""

Polynomial = tuple[float, float, float]


def orthogonalise(matrices: Float[Tensor, "batch rows columns"], steps: int) -> Float[Tensor, "batch rows columns"]:
    """The matrices with their singular values moved to between 0.7 and 1.3, and their singular vectors kept.

    That holds for singular values of at least `smallest(steps)` times the Schatten-4 norm; those below stay below.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
    gram = x @ x.mT
    scale = gram.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
    x, gram = x / scale.sqrt(), gram / scale
    room = ROUNDING[x.dtype]
    chain = [(a / room, b / room**3, c / room**5) for a, b, c in polynomials(steps)]
    # In half precision powers of the Gram matrix lose the small singular values that x still has.
    exact = x.dtype == torch.float32 and steps <= GRAM_STEPS
    x = _by_gram(x, gram, chain) if exact and x.shape[-1] > x.shape[-2] else _directly(x, gram, chain)
    return x.mT if tall else x


def _directly(x: Tensor, gram: Tensor, steps: list[Polynomial]) -> Tensor:
    for number, (a, b, c) in enumerate(steps):
        if number:
            gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _by_gram(x: Tensor, gram: Tensor, steps: list[Polynomial]) -> Tensor:
    whole = factor = _factor(gram, *steps[0])
    for coefficients in steps[1:]:
        gram = factor @ gram @ factor  # they commute: all are polynomials of the first Gram matrix
        factor = _factor(gram, *coefficients)
        whole = factor @ whole
    return whole @ x


def _factor(gram: Tensor, a: float, b: float, c: float) -> Tensor:
    """``a + b gram + c gram^2``."""
    factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal(dim1=-2, dim2=-1).add_(a)
    return factor


@cache
def smallest(steps: int) -> float:
    """The smallest singular value that `steps` polynomials bring to within `SPREAD` of 1, if the largest is 1."""
    low, high = 1e-9, 1.0
    while high / low > 1 + 1e-6:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if _compose(middle, steps)[1] < SPREAD else (middle, high)
    return high


@cache
def polynomials(steps: int) -> tuple[Polynomial, ...]:
    """The coefficients ``(a, b, c)`` of each step, best for singular values between `smallest(steps)` and 1."""
    return tuple(_compose(smallest(steps), steps)[0])


def _compose(low: float, steps: int) -> tuple[list[Polynomial], float]:
    """The best polynomial of each step for values in (low, 1), and how far from 1 the last one leaves them.

    Taking the best for what is left, step by step, is the best composition (Amsel et al., 2025, theorem 3.1).
    """
    high, found = 1.0, []
    for _ in range(steps):
        coefficients, error = _minimax(low, high)
        found.append(coefficients)
        low, high = 1 - error, 1 + error
    return found, high - 1


def _minimax(low: float, high: float) -> tuple[Polynomial, float]:
    """The odd quintic nearest to 1 on (low, high), and its largest error, by Remez's exchange: the error of the best
    one is the same at both ends and, with the sign turned, at its two extrema between them.
    """
    if high - low < 1e-3 * high:
        return (15 / 8 / high, -10 / 8 / high**3, 3 / 8 / high**5), 0.0  # Newton-Schulz, its limit
    inner = np.array([0.75 * low + 0.25 * high, 0.25 * low + 0.75 * high])
    while True:
        x = np.array([low, *inner, high])
        a, b, c, error = np.linalg.solve(np.stack([x, x**3, x**5, [1, -1, 1, -1]], axis=1), np.ones(4))
        root = np.sqrt(9 * b * b - 20 * a * c)
        extrema = np.sqrt((-3 * b + np.array([-1, 1]) * root) / (10 * c))
        if np.abs(extrema - inner).max() < 1e-9 * high:
            return (float(a), float(b), float(c)), float(error)
        inner = extrema
