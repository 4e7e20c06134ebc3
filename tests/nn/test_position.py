"""Positions: right on their own grid, right when read at another."""

import math

import pytest
import torch
from torch.nn import functional as F

from triptych.nn.attention import rotate
from triptych.nn.coordinates import centre_aligned, corner_aligned, unit_centred, unscaled
from triptych.nn.position import (
    LearnedPosition,
    LearnedRotaryPosition,
    NoPosition,
    RotaryPosition,
    SinusoidalPosition,
    TokenGrid,
    resample_grid,
)

CPU = torch.device("cpu")


def test_learned_table_is_itself_on_its_own_grid_and_resampled_elsewhere() -> None:
    position = LearnedPosition(TokenGrid(8, (4, 6), prefix=2))
    torch.nn.init.normal_(position.places)
    assert position.table((4, 6), CPU) is position.places
    picture = position.places.reshape(4, 6, 8).permute(2, 0, 1)[None]
    expected = F.interpolate(picture, size=(7, 3), mode="bicubic", antialias=True)[0].permute(1, 2, 0).reshape(21, 8)
    torch.testing.assert_close(position.table((7, 3), CPU), expected)
    prefix = position.prefix_table()
    assert prefix is not None
    assert prefix.shape == (2, 8)


def test_resampling_works_in_float32_and_keeps_the_type() -> None:
    table = torch.randn(16, 4)
    half = resample_grid(table.bfloat16(), (4, 4), (6, 6))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, resample_grid(table.bfloat16().float(), (4, 4), (6, 6)).bfloat16())


def test_resampling_keeps_a_constant_and_a_gradient_flows() -> None:
    table = torch.full((12, 2), 3.0, requires_grad=True)
    bigger = resample_grid(table, (12,), (20,))
    torch.testing.assert_close(bigger, torch.full((20, 2), 3.0))
    bigger.sum().backward()
    assert table.grad is not None
    assert table.grad.abs().min() > 0


def test_coordinates_of_another_grid_cover_the_same_image() -> None:
    assert centre_aligned((2, 3), (2, 3), CPU).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert centre_aligned((4,), (2,), CPU).flatten().tolist() == [-0.25, 0.25, 0.75, 1.25]


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        (corner_aligned, [0, 0.5, 1, 1.5]),
        (unscaled, [0, 1, 2, 3]),
        (unit_centred, [-1.5 * math.pi, -0.5 * math.pi, 0.5 * math.pi, 1.5 * math.pi]),
    ],
)
def test_coordinates_of_the_families_on_a_grid_twice_as_fine(scheme, expected: list[float]) -> None:
    made = scheme((4,), (2,), CPU).flatten()
    torch.testing.assert_close(made, torch.tensor(expected, dtype=torch.float32))
    plane = scheme((4, 6), (2, 3), CPU).view(4, 6, 2)
    torch.testing.assert_close(plane[:, 0, 0], made)
    assert torch.equal(scheme((4, 6), (2, 3), CPU, width_first=True), plane.flatten(0, 1).flip(-1))


def test_a_reference_takes_the_place_of_the_grid() -> None:
    grown = RotaryPosition(TokenGrid(8, (6, 6), rotary_dim=8), coordinates=corner_aligned, reference=(3, 3))
    built = RotaryPosition(TokenGrid(8, (3, 3), rotary_dim=8), coordinates=corner_aligned)
    for got, wanted in zip(grown.rotary((6, 6), CPU), built.rotary((6, 6), CPU), strict=True):
        assert torch.equal(got, wanted)
    sines = SinusoidalPosition(TokenGrid(8, (6, 6)), reference=[3, 3]).table((6, 6), CPU)
    assert torch.equal(sines, SinusoidalPosition(TokenGrid(8, (3, 3))).table((6, 6), CPU))
    with pytest.raises(ValueError, match="2 axes meets positions built for 1 axes"):
        RotaryPosition(TokenGrid(8, (6, 6), rotary_dim=8), reference=[3])


def test_an_offset_reads_the_table_as_dinov2_does() -> None:
    """Cell i of the new grid lies at (i + 1/2) * old / (new + offset) - 1/2; a straight line shows where it is read."""
    line = torch.arange(20.0)[:, None].expand(20, 2).contiguous()
    made = resample_grid(line, (20,), (50,), "bilinear", False, offset=0.1)
    where = (torch.arange(50) + 0.5) * (20 / 50.1) - 0.5
    torch.testing.assert_close(made[10:40, 0], where[10:40], rtol=0, atol=1e-4)
    assert not torch.allclose(made, resample_grid(line, (20,), (50,), "bilinear", False), rtol=0, atol=1e-3)
    assert resample_grid(torch.randn(16, 3), (4, 4), (3, 7), antialias=False, offset=0.1).shape == (21, 3)


def test_sinusoids_are_those_of_the_reference() -> None:
    """big_vision ``posemb_sincos_2d``, written out cell by cell."""
    table = SinusoidalPosition(TokenGrid(16, (3, 5))).table((3, 5), CPU)
    for y in range(3):
        for x in range(5):
            waves = [10_000 ** -(i / 3) for i in range(4)]
            row = [f(c * w) for c, f in ((x, math.sin), (x, math.cos), (y, math.sin), (y, math.cos)) for w in waves]
            torch.testing.assert_close(table[5 * y + x], torch.tensor(row), rtol=1e-4, atol=1e-5)
    assert SinusoidalPosition(TokenGrid(6, (4,))).table((4,), CPU).shape == (4, 6)


def test_rotary_scores_depend_on_distance_alone() -> None:
    """The product of a turned query and a turned key is the same for every pair of cells equally far apart."""
    rotary = RotaryPosition(TokenGrid(8, (4, 4), rotary_dim=8)).rotary((4, 4), CPU)
    query, key = torch.randn(8).expand(16, 1, 8), torch.randn(8).expand(16, 1, 8)
    scores = (rotate(query, rotary)[:, 0] @ rotate(key, rotary)[:, 0].T).view(4, 4, 4, 4)
    torch.testing.assert_close(scores[0, 0, 1, 2], scores[2, 1, 3, 3])
    torch.testing.assert_close(scores[1, 3, 0, 0], scores[2, 3, 1, 0])
    assert not torch.isclose(scores[0, 0, 1, 2], scores[0, 0, 2, 1])


def test_learned_and_rotary_gives_what_each_gives_alone() -> None:
    tokens = TokenGrid(8, (3, 4), prefix=2, rotary_dim=8)
    both = LearnedRotaryPosition(tokens, base=50.0, interpolation="bilinear")
    learned, rotary = LearnedPosition(tokens, interpolation="bilinear"), RotaryPosition(tokens, base=50.0)
    for parameter in both.parameters():
        torch.nn.init.normal_(parameter)
    learned.load_state_dict(both.learned.state_dict())
    for grid in ((3, 4), (5, 2)):
        assert torch.equal(both.table(grid, CPU), learned.table(grid, CPU))
        for got, wanted in zip(both.rotary(grid, CPU), rotary.rotary(grid, CPU), strict=True):
            assert torch.equal(got, wanted)
    assert both.prefix_table() is both.learned.prefix_places


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="takes no rotary"):
        RotaryPosition(TokenGrid(8, (4, 4), rotary_dim=None))
    with pytest.raises(ValueError, match=r"head width is 6.*multiple of 4"):
        RotaryPosition(TokenGrid(8, (4, 4), rotary_dim=6))
    with pytest.raises(ValueError, match=r"dim is 6.*multiple of 4"):
        SinusoidalPosition(TokenGrid(6, (4, 4)))
    with pytest.raises(ValueError, match="1 axes"):
        centre_aligned((4,), (4, 4), CPU)
    nothing = NoPosition(TokenGrid(8, (4, 4)))
    assert nothing.table((4, 4), CPU) is nothing.prefix_table() is nothing.rotary((4, 4), CPU) is None
