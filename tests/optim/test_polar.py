"""The orthogonal direction against the singular value decomposition, and the polynomials that find it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from triptych.optim.polar import SPREAD, orthogonalise, polynomials, smallest


def with_values(values: Tensor, rows: int, columns: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """A matrix of these singular values, and its singular vectors."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(rows, len(values), generator=generator))[0]
    right = torch.linalg.qr(torch.randn(columns, len(values), generator=generator))[0]
    return left * values @ right.T, left, right


@given(
    rows=st.integers(2, 24), columns=st.integers(2, 24), steps=st.integers(1, 5), scale=st.floats(1e-6, 1e6),
    seed=st.integers(0, 1000),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_singular_values_go_to_one_and_vectors_stay(
    rows: int, columns: int, steps: int, scale: float, seed: int
) -> None:
    count = min(rows, columns)
    # Of the Schatten-4 norm, so that none is below what the steps are made for, after the margin is taken off.
    floor = 1.1 * smallest(steps) * count**0.25
    values = torch.linspace(1, min(1, floor), count)
    matrix, left, right = with_values(values * scale, rows, columns, seed)
    got = orthogonalise(matrix[None], steps)[0]
    inside = left.T @ got @ right
    assert (inside.diag() - 1).abs().max() < SPREAD + 0.01
    torch.testing.assert_close(left * inside.diag() @ right.T, got, rtol=0, atol=2e-3)


@pytest.mark.parametrize("shape", [(6, 6), (5, 17), (17, 5)])
def test_half_precision_takes_the_same_direction(shape: tuple[int, int]) -> None:
    matrices = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    exact, half = orthogonalise(matrices, 3), orthogonalise(matrices.bfloat16(), 3).float()
    assert torch.nn.functional.cosine_similarity(exact.flatten(), half.flatten(), 0) > 0.95
    assert torch.linalg.svdvals(half).max() < 1.5


@pytest.mark.parametrize("steps", range(1, 13))
@pytest.mark.parametrize("shape", [(64, 192), (192, 64), (96, 96)])
def test_no_matrix_makes_a_step_grow(shape: tuple[int, int], steps: int) -> None:
    """Rounding must not feed on the directions that a matrix has not."""
    low_rank = torch.randn(shape[0], 4) @ torch.randn(4, shape[1])
    steep, _, _ = with_values(torch.logspace(0, -6, 64), *shape, seed=0)
    for matrices in (low_rank[None], steep[None], low_rank[None].bfloat16()):
        largest = torch.linalg.svdvals(orthogonalise(matrices, steps).float()).max()
        assert largest < 1 + SPREAD + 0.1


def test_matrices_of_a_batch_do_not_meet() -> None:
    matrices = torch.randn(3, 4, 9)
    alone = torch.cat([orthogonalise(matrix[None], 3) for matrix in matrices])
    torch.testing.assert_close(orthogonalise(matrices, 3), alone, rtol=1e-4, atol=1e-5)


def test_a_matrix_of_zeros_gives_zeros() -> None:
    assert torch.equal(orthogonalise(torch.zeros(1, 3, 5), 3), torch.zeros(1, 3, 5))


@pytest.mark.parametrize("steps", range(1, 7))
def test_the_polynomials_bring_their_whole_interval_to_one(steps: int) -> None:
    x = torch.linspace(smallest(steps), 1, 200_001, dtype=torch.float64)
    for a, b, c in polynomials(steps):
        x = a * x + b * x**3 + c * x**5
    assert abs((x - 1).abs().max() - SPREAD) < 1e-3


@pytest.mark.parametrize("steps", range(1, 7))
def test_no_polynomial_of_the_kind_comes_nearer_to_one(steps: int) -> None:
    best = torch.tensor(polynomials(steps)[0], dtype=torch.float64)
    grid = torch.linspace(smallest(steps), 1, 20_001, dtype=torch.float64)
    powers = torch.stack([grid, grid**3, grid**5])

    def error(coefficients: Tensor) -> float:
        return float((coefficients @ powers - 1).abs().max())

    for change in torch.randn(100, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(steps)):
        assert error(best + 0.01 * change) > error(best) - 1e-6


def test_more_steps_reach_smaller_values() -> None:
    reach = [smallest(steps) for steps in range(1, 8)]
    assert reach == sorted(reach, reverse=True)
    assert reach[2] < 0.01
