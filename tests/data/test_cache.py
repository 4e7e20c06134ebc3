"""A cached source gives what its source gives, decodes once, and keeps bad samples bad."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image

from triptych.data import cache
from triptych.data.cache import CachedSource
from triptych.data.source import BadSample
from triptych.errors import UserError


class Mixed:
    """PIL images and tensors of different sizes."""

    multilabel = False

    def __init__(self) -> None:
        self.classes = ["a"]
        self.reads = 0

    def __len__(self) -> int:
        return 4

    def name(self, index: int) -> str:
        return f"mixed {index}"

    def read(self, index: int) -> tuple[Any, int]:
        self.reads += 1
        if index == 2:
            raise BadSample("broken")
        if index == 1:
            return Image.new("RGB", (5, 2), (1, 2, 3)), 0
        return torch.full((3, index + 1, 4), index, dtype=torch.uint8), 0


def test_each_image_is_read_once_and_comes_back() -> None:
    source = Mixed()
    cached = CachedSource(source)
    for _ in range(3):
        assert torch.equal(torch.as_tensor(cached.read(3)[0]), torch.full((3, 4, 4), 3, dtype=torch.uint8))
        assert cached.read(1)[0][:, 0, 0].tolist() == [1, 2, 3]
        assert cached.read(1)[0].shape == (3, 2, 5)
        with pytest.raises(BadSample, match="broken"):
            cached.read(2)
    assert source.reads == 4
    assert (len(cached), cached.name(2), cached.classes) == (4, "mixed 2", ["a"])


def test_images_that_would_fill_the_memory_are_refused(
    numbers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MEMORY_FRACTION", 1e-12)
    with pytest.raises(UserError, match=r"would keep 100 decoded samples.*set data.cache=false"):
        CachedSource(numbers(100))
