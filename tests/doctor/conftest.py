"""A sound data set on disk, to be damaged in one way at a time."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def picture(number: int, size: tuple[int, int] = (32, 32)) -> Image.Image:
    """An image of its own: blurred noise, which survives a change of size and format."""
    coarse = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """`train` and `val` with twelve and four images of each of two classes."""
    number = 0
    for split, count in (("train", 12), ("val", 4)):
        for kind in ("cat", "dog"):
            folder = tmp_path / "set" / split / kind
            folder.mkdir(parents=True)
            for place in range(count):
                (folder / f"{place}.png").write_bytes(png(picture(number)))
                number += 1
    return tmp_path / "set"


@pytest.fixture
def make() -> Callable[..., Image.Image]:
    return picture
