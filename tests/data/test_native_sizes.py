"""Images of their own sizes come in one order, whole, whatever the number of workers, ranks and restarts."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode

from triptych.data.collation import collation
from triptych.data.loader import BadSamples, StepLoader
from triptych.data.module import ImageData
from triptych.data.order import Order
from triptych.data.transforms import CentreCrop, PadCrop, RandAugment, RandomResizedCrop, ThreeAugment, Transform
from triptych.errors import UserError
from triptych.features.mixed_images import MixedImages
from triptych.features.native_size import NativeSize
from triptych.features.preprocess import Preprocess

NATIVE = NativeSize(4, max_tokens=40, sides=(12, 30))


class Pictures:
    """Image `index` has a size of its own, and pixels that tell where they are."""

    multilabel = False

    def __init__(self, size: int) -> None:
        self.classes = ["a", "b", "c"]
        self.size = size

    def __len__(self) -> int:
        return self.size

    def name(self, index: int) -> str:
        return str(index)

    def read(self, index: int) -> tuple[Tensor, int]:
        height, width = 9 + index * 7 % 31, 9 + index * 5 % 23
        pixels = torch.arange(3 * height * width).view(3, height, width) * (index + 1) % 256
        return pixels.to(torch.uint8), index % 3


def loader(count: int = 19, transform: Transform | None = None, **options: Any) -> StepLoader:
    transform = transform or ThreeAugment(RandomResizedCrop(NATIVE))
    order = Order(count, 6, seed=3)
    return StepLoader(Pictures(count), order, transform, collation(3, NATIVE), BadSamples(count, 0.1), **options)


def kept(batches: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value.clone() for key, value in batch.items()} for batch in batches]


def assert_same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    assert len(one) == len(other) > 0
    for left, right in zip(one, other, strict=True):
        assert left["image"].sizes == right["image"].sizes
        assert torch.equal(left["image"].pixels, right["image"].pixels)
        assert torch.equal(left["label"], right["label"])
        assert torch.equal(left["index"], right["index"])


def test_workers_and_restarts_change_nothing() -> None:
    whole, crew = loader(), loader(workers=2)
    epochs = [kept(whole), kept(whole)]
    assert len({size for batch in epochs[0] for size in batch["image"].sizes}) > 5
    assert [batch["image"].sizes for batch in epochs[0]] != [batch["image"].sizes for batch in epochs[1]]
    for epoch in epochs:
        assert_same(kept(crew), epoch)
    restarted = loader(workers=2)
    restarted.start_step = 6
    assert_same(kept(restarted), epochs[1][2:])


@pytest.mark.parametrize("world_size", [2, 3])
def test_slices_of_ranks_are_the_global_batch(world_size: int) -> None:
    parts = zip(*(loader(rank=rank, world_size=world_size) for rank in range(world_size)), strict=True)
    for whole, slices in zip(kept(loader()), parts, strict=True):
        assert torch.equal(torch.cat([part["index"] for part in slices]), whole["index"])
        images = [image for part in slices for image in part["image"]]
        assert all(torch.equal(left, right) for left, right in zip(images, whole["image"], strict=True))


def test_a_rank_without_samples_gets_an_empty_batch() -> None:
    batches = kept(loader(count=7, rank=1, world_size=3))
    assert [len(batch["image"]) for batch in batches] == [2, 0]
    assert isinstance(batches[1]["image"], MixedImages)


@pytest.mark.parametrize(
    "transform",
    [CentreCrop(NATIVE), RandomResizedCrop(NATIVE), PadCrop(NATIVE), RandAugment(RandomResizedCrop(NATIVE)),
     ThreeAugment(PadCrop(NATIVE))],
    ids=lambda transform: type(transform).__name__,
)  # fmt: skip
def test_every_preset_gives_whole_patches(transform: Transform) -> None:
    fits = collation(3, NATIVE).fits
    source = Pictures(12)
    assert all(fits(transform(source.read(index)[0])) for index in range(12))


def test_a_crop_keeps_the_proportions_of_its_picture() -> None:
    wide = torch.zeros(3, 40, 160, dtype=torch.uint8)
    crop = RandomResizedCrop(NativeSize(4, 10_000), scale=(0.5, 1.0), ratio=(0.9, 1.1))
    shapes = [crop(wide).shape for _ in range(20)]
    assert len(set(shapes)) > 1
    assert all(3 < shape[2] / shape[1] < 5 for shape in shapes)


def test_evaluation_sees_what_the_checkpoint_will_cut() -> None:
    """The transform of validation and the preprocess of the checkpoint give the same pixels."""
    for crop in (1.0, 0.8):
        transform = CentreCrop(NATIVE, crop, "bicubic")
        preprocess = Preprocess((16, 16), interpolation=InterpolationMode.BICUBIC.value, crop=crop, native=NATIVE)
        for index in range(12):
            image = Pictures(12).read(index)[0]
            assert torch.equal(transform(image), preprocess.cut(image))


def test_wrong_shapes_and_sides_that_nothing_draws_are_told() -> None:
    with pytest.raises(UserError, match=r"10 is \(3, 17, 13\) after its transform, and \(3, multiple of 4, multiple"):
        next(iter(loader(transform=lambda image: image)))
    with pytest.raises(UserError, match=r"sides=\[12, 30\] draws a size .* set data.image_size.sides=null"):
        ImageData(
            lambda: Pictures(3), lambda: Pictures(3), CentreCrop(NATIVE), CentreCrop(NATIVE), 2, NATIVE, [0.5], [0.5]
        )
