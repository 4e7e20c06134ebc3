"""A native size is whole patches, in bounds, and as near to the image's own as they allow."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.errors import UserError
from triptych.features.native_size import NativeSize

sides = st.integers(1, 3000)
patches = st.tuples(st.integers(1, 32), st.integers(1, 32))


@given(height=sides, width=sides, patch=patches, max_tokens=st.integers(1, 1024), enlarge=st.booleans())
def test_is_the_largest_of_whole_patches_that_is_allowed(
    height: int, width: int, patch: tuple[int, int], max_tokens: int, enlarge: bool
) -> None:
    got = NativeSize(patch, max_tokens, enlarge).fit(height, width)
    rows, columns = got[0] / patch[0], got[1] / patch[1]
    assert rows == int(rows) >= 1
    assert columns == int(columns) >= 1
    assert rows * columns <= max_tokens
    if not enlarge:
        assert got[0] <= max(height, patch[0])
        assert got[1] <= max(width, patch[1])
    # One patch more on the side that comes next would be too much, or more than the image has.
    taller, wider = (rows + 1) * patch[0] / height, (columns + 1) * patch[1] / width
    more = (rows + 1) * columns if taller <= wider else rows * (columns + 1)
    assert more > max_tokens or (not enlarge and min(taller, wider) > 1)


@given(side=st.integers(64, 2000), ratio=st.floats(0.25, 4), max_tokens=st.integers(64, 1024))
def test_keeps_the_proportions_to_within_a_patch(side: int, ratio: float, max_tokens: int) -> None:
    height, width = side, max(16, round(side * ratio))
    got = NativeSize(16, max_tokens).fit(height, width)
    # There is one scale at which both sides, rounded down to patches, are what was given.
    assert max(got[0] / height, got[1] / width) <= min((got[0] + 16) / height, (got[1] + 16) / width) + 1e-9


@pytest.mark.parametrize(("size", "expected"), [((100, 130), (96, 128)), ((16, 16), (16, 16)), ((3, 90), (16, 80)),
                                                ((512, 512), (256, 256)), ((1024, 256), (512, 128)),
                                                ((9, 10_000), (16, 4096))])  # fmt: skip
def test_known_sizes(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert NativeSize(16, 256).fit(*size) == expected


@given(height=st.integers(32, 600), width=st.integers(32, 600), draw=st.floats(0, 1), enlarge=st.booleans())
def test_drawn_sides_bound_the_area_in_training_alone(height: int, width: int, draw: float, enlarge: bool) -> None:
    native = NativeSize(8, 4096, enlarge, sides=[64, 128])
    got = native.fit(height, width, draw)
    wanted = 64 + draw * 64
    allowed = wanted if enlarge else min(wanted, math.sqrt(height * width))
    assert math.sqrt(got[0] * got[1]) <= max(allowed, 8 * math.sqrt(max(height, width) / 8)) * (1 + 1e-9)
    assert native.fit(height, width) == NativeSize(8, 4096, enlarge).fit(height, width)


def test_a_larger_draw_gives_no_smaller_image() -> None:
    native = NativeSize(4, 10_000, sides=(20, 200))
    areas = [math.prod(native.fit(150, 210, draw / 20)) for draw in range(21)]
    assert areas == sorted(areas)
    assert areas[0] < areas[-1]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"patch_size": 0}, "patch_size is"),
        ({"patch_size": [4, 4, 4]}, "a height and a width"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"sides": [90, 60]}, r"sides is \[90, 60\]"),
        ({"max_batch_tokens": 10}, "max_batch_tokens is 10, below the max_tokens=256"),
        ({"route": "ragged"}, "route is 'ragged'; it must be one of packed, padded"),
    ],
)
def test_mistakes_are_told(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        NativeSize(**{"patch_size": 16, **settings})
