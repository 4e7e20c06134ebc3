"""A batch of images of differing sizes holds exactly those images, whole and in part."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from triptych.features.mixed_images import MixedImages
from triptych.features.native_size import NativeSize
from triptych.features.preprocess import Preprocess

sizes = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=7)


def draw(grids: list[tuple[int, int]], channels: int = 3) -> list[Tensor]:
    return [torch.randint(256, (channels, 4 * rows, 2 * columns), dtype=torch.uint8) for rows, columns in grids]


def native(**settings: object) -> NativeSize:
    return NativeSize((4, 2), max_tokens=16, **settings)  # pyright: ignore[reportArgumentType]


@given(grids=sizes, channels=st.sampled_from([1, 3]), data=st.data())
def test_images_come_out_as_they_went_in(grids: list[tuple[int, int]], channels: int, data: st.DataObject) -> None:
    images = draw(grids, channels)
    batch = MixedImages.of(images, native())
    assert len(batch) == len(images)
    assert batch.tokens == tuple(rows * columns for rows, columns in grids)
    assert all(torch.equal(left, right) for left, right in zip(batch, images, strict=True))
    assert all(each.untyped_storage().data_ptr() == batch.pixels.untyped_storage().data_ptr() for each in batch)
    assert torch.equal(batch[-1], images[-1])
    start, stop = data.draw(st.integers(0, len(images))), data.draw(st.integers(0, len(images)))
    picked = data.draw(st.lists(st.integers(0, len(images) - 1)))
    for part, expected in (
        (batch[start:stop], images[start:stop]),
        (batch[::-2], images[::-2]),
        (batch[picked], [images[place] for place in picked]),
        (batch.clone(), images),
        (batch.to("cpu"), images),
    ):
        assert len(part) == len(expected)
        assert all(torch.equal(left, right) for left, right in zip(part, expected, strict=True))
    (blank,) = batch.blank()
    assert torch.equal(blank, torch.zeros(channels, 4, 2, dtype=torch.uint8))


@given(
    grids=sizes,
    most=st.integers(1, 8),
    budget=st.none() | st.integers(16, 60),
    route=st.sampled_from(["packed", "padded"]),
)
def test_cuts_hold_every_image_once_within_the_budget(
    grids: list[tuple[int, int]], most: int, budget: int | None, route: str
) -> None:
    batch = MixedImages.of(draw(grids), native(max_batch_tokens=budget, route=route))
    runs = batch.cuts(most)
    assert [place for run in runs for place in range(len(grids))[run]] == list(range(len(grids)))
    costs = []
    for run in runs:
        tokens = batch[run].tokens
        costs.append(sum(tokens) if route == "packed" else len(tokens) * max(tokens))
        assert 1 <= len(tokens) <= most
        assert budget is None or costs[-1] <= budget
    # No run could have taken the next image too.
    for run, after in pairwise(runs):
        tokens = batch[run.start : after.start + 1].tokens
        cost = sum(tokens) if route == "packed" else len(tokens) * max(tokens)
        assert len(tokens) > most or (budget is not None and cost > budget)


def test_an_index_beyond_the_end_and_sizes_that_do_not_add_up_are_refused() -> None:
    batch = MixedImages.of(draw([(1, 1), (2, 1)]), native())
    with pytest.raises(IndexError):
        batch[2]
    with pytest.raises(ValueError, match="add up to 8 pixels, and there are 24"):
        MixedImages(batch.pixels, [(4, 2)], native())


def test_preprocess_makes_and_normalises_batches_as_single_images() -> None:
    preprocess = Preprocess((16, 16), (0.2, 0.4, 0.6), (0.3, 0.2, 0.1), crop=0.9, native=NativeSize(4, 36))
    pictures = [
        torch.randint(256, (3, height, width), dtype=torch.uint8) for height, width in ((20, 31), (90, 33), (3, 9))
    ]
    cut = [preprocess.cut(picture) for picture in pictures]
    assert [tuple(each.shape[1:]) for each in cut] == [(16, 28), (40, 12), (4, 8)]
    batch = preprocess.batch(cut)
    assert isinstance(batch, MixedImages)
    for one, picture in zip(preprocess.normalise(batch), pictures, strict=True):
        torch.testing.assert_close(one, preprocess(picture))
    again = Preprocess.from_dict(preprocess.to_dict())
    assert again == preprocess
    assert "native" not in Preprocess((16, 16)).to_dict()
