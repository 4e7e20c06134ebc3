"""A batch holds its samples; a buffer is handed out again only when nobody holds it."""

import gc

import pytest
import torch

from triptych.data.collate import BufferRing, collate


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 2, 2)])
def test_stacks_samples_in_order(shape: tuple[int, ...]) -> None:
    images = [torch.randint(0, 256, shape, dtype=torch.uint8) for _ in range(4)]
    batch = collate(images)
    assert batch.shape == (4, *shape)
    assert all(torch.equal(row, image) for row, image in zip(batch, images, strict=True))
    turned = [image.transpose(1, 2) for image in images]
    assert torch.equal(collate(turned), batch.transpose(2, 3))


def test_a_slot_is_free_once_its_last_view_is_gone() -> None:
    ring = BufferRing(lanes=1, slots=2, size=12)
    first, second = ring.take(0), ring.take(0)
    assert {first, second} == {0, 1}
    assert ring.take(0) is None
    images = [torch.full((1, 2, 3), 9, dtype=torch.uint8)] * 2
    ring.fill(0, images)
    batch = ring.hand_out(0, (2, 1, 2, 3))
    assert torch.equal(batch, torch.stack(images))
    view = batch[1, 0]
    del batch
    gc.collect()
    assert ring.take(0) is None
    del view
    gc.collect()
    assert ring.take(0) == 0


def test_lanes_do_not_take_from_each_other() -> None:
    ring = BufferRing(lanes=2, slots=1, size=4)
    assert ring.take(1) == 1
    assert ring.take(1) is None
    assert ring.take(0) == 0


def test_a_short_batch_uses_the_front_of_a_slot() -> None:
    ring = BufferRing(lanes=1, slots=1, size=100)
    slot = ring.take(0)
    assert slot is not None
    image = torch.arange(12, dtype=torch.uint8).reshape(3, 2, 2)
    ring.fill(slot, [image])
    assert torch.equal(ring.hand_out(slot, (1, 3, 2, 2))[0], image)


def test_buffers_outlive_their_ring() -> None:
    ring = BufferRing(lanes=1, slots=1, size=3)
    slot = ring.take(0)
    assert slot is not None
    ring.fill(slot, [torch.tensor([[[7]]], dtype=torch.uint8)] * 3)
    batch = ring.hand_out(slot, (3, 1, 1, 1))
    del ring
    gc.collect()
    assert batch.sum() == 21
