"""Batch n is the same for any number of workers and any restart; bad samples are named; a dead worker is told."""

import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from triptych.data.collation import Stacked
from triptych.data.loader import BadSamples, StepLoader
from triptych.data.order import Order
from triptych.data.source import Source
from triptych.data.transforms import CentreCrop, PadCrop, RandomResizedCrop, ThreeAugment, Transform
from triptych.errors import UserError

Batch = dict[str, Tensor]


def loader(source: Source, batch_size: int = 4, transform: Transform | None = None, **options: Any) -> StepLoader:
    order = Order(len(source), batch_size, seed=5, shuffle=options.get("training", True))
    bad = BadSamples(len(source), options.pop("max_bad_fraction", 0.5))
    return StepLoader(source, order, transform or RandomResizedCrop(4), Stacked((3, 4, 4)), bad, **options)


def kept(batches: Iterator[Batch] | StepLoader) -> list[Batch]:
    return [{key: value.clone() for key, value in batch.items()} for batch in batches]


def assert_same(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        assert left.keys() == right.keys() == {"image", "label", "index"}
        for key in left:
            assert torch.equal(left[key], right[key]), key


class Gradient:
    """Images whose every pixel tells which sample it belongs to and where it was."""

    multilabel = False

    def __init__(self, size: int) -> None:
        self.classes = ["a", "b", "c"]
        self.size = size

    def __len__(self) -> int:
        return self.size

    def name(self, index: int) -> str:
        return str(index)

    def read(self, index: int) -> tuple[Tensor, int]:
        return (torch.arange(3 * 9 * 9).reshape(3, 9, 9) * (index + 1) % 256).to(torch.uint8), index % 3


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("start", [0, 3, 5, 9])
def test_batches_from_a_step_are_those_of_an_uninterrupted_run(workers: int, start: int) -> None:
    transform = ThreeAugment(RandomResizedCrop(4))
    source = Gradient(19)  # 5 steps an epoch, the last one short
    whole_loader = loader(source, transform=transform)
    whole = [batch for _ in range(4) for batch in kept(whole_loader)]
    assert len(whole) == 20
    resumed = loader(source, transform=transform, workers=workers)
    resumed.start_step = start
    first = kept(resumed)
    assert len(first) == 5 - start % 5
    assert len(resumed) == 5
    rest = [batch for _ in range(2 - start // 5) for batch in kept(resumed)]
    assert_same(first + rest, whole[start:15])
    # A second interruption, of a loader that has been used.
    resumed.start_step = start + 1
    again = kept(resumed)
    assert_same(again, whole[start + 1 : start + 1 + len(again)])


@pytest.mark.parametrize("workers", [0, 2])
def test_one_iteration_can_run_over_all_epochs(workers: int) -> None:
    source = Gradient(10)
    epochs = loader(source)
    whole = [batch for _ in range(4) for batch in kept(epochs)]
    run = loader(source, workers=workers)
    run.start_step, run.stop_step = 2, 11
    assert len(run) == 11
    assert_same(kept(run), whole[2:11])


def test_epochs_differ_in_order_and_in_augmentation() -> None:
    run = loader(Gradient(6), batch_size=6)
    first, second = kept(run)[0], kept(run)[0]
    assert first["index"].tolist() != second["index"].tolist()
    position = second["index"].tolist().index(first["index"][0])
    assert not torch.equal(first["image"][0], second["image"][position])


def test_augmentation_of_a_sample_does_not_depend_on_its_batch() -> None:
    source = Gradient(12)
    small = torch.cat([batch["image"][batch["index"].argsort()] for batch in kept(loader(source, 12))])
    parts = kept(loader(source, 5))
    images, indices = torch.cat([part["image"] for part in parts]), torch.cat([part["index"] for part in parts])
    assert torch.equal(images[indices.argsort()], small)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_process_stream_of_random_numbers_is_not_touched(workers: int) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = torch.rand(1)
    run = loader(Gradient(8), workers=workers)
    for _ in range(2):
        kept(run)
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_ranks_together_make_the_global_batch(world_size: int) -> None:
    source = Gradient(13)
    ranks = [kept(loader(source, batch_size=6, rank=rank, world_size=world_size)) for rank in range(world_size)]
    whole = kept(loader(source, batch_size=6))
    joined = [{key: torch.cat([part[key] for part in parts]) for key in parts[0]} for parts in zip(*ranks, strict=True)]
    assert_same(joined, whole)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_gives_each_sample_once_in_order_every_time(workers: int) -> None:
    run = loader(Gradient(10), transform=CentreCrop(4), training=False, workers=workers)
    for _ in range(2):
        batches = kept(run)
        assert [len(batch["label"]) for batch in batches] == [4, 4, 2]
        assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(10))


@pytest.mark.parametrize("workers", [0, 2])
def test_held_batches_are_not_written_over(workers: int) -> None:
    run = loader(Gradient(80), workers=workers)
    held = [next(iter_) for iter_ in [iter(run)] for _ in range(20)]
    assert_same(held, kept(loader(Gradient(80))))


def test_views_keep_a_buffer_and_its_release_gives_it_back() -> None:
    run = loader(Gradient(400))
    batches = iter(run)
    row = next(batches)["image"][1]
    address, content = row.data_ptr(), row.clone()
    addresses = set()
    for batch in batches:
        addresses.add(batch["image"].data_ptr())
        assert torch.equal(row, content)
    assert address - 48 not in addresses
    assert len(addresses) <= 6, "buffers are used again"


@pytest.mark.parametrize("workers", [0, 2])
def test_an_iteration_left_early_does_not_disturb_the_next(workers: int) -> None:
    run = loader(Gradient(40), workers=workers)
    left = iter(run)
    next(left)
    following = kept(run)
    reference = loader(Gradient(40))
    kept(reference)
    assert_same(following, kept(reference))
    assert_same([next(left)], kept(loader(Gradient(40)))[1:2])


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_samples_are_skipped_counted_and_named_once(
    workers: int, numbers: Callable[..., Source], caplog: pytest.LogCaptureFixture
) -> None:
    run = loader(numbers(20, bad=[3, 11]), workers=workers, transform=PadCrop(4, padding=0))
    for _ in range(3):
        batches = kept(run)
        seen = torch.cat([batch["index"] for batch in batches])
        assert sorted(seen.tolist()) == [index for index in range(20) if index not in (3, 11)]
        for batch in batches:
            assert torch.equal(batch["image"][:, 0, 0, 0].long(), batch["index"])
            assert torch.equal(batch["label"], batch["index"] % 2)
    assert run.bad.count == 2
    assert run.bad.seen == 20
    lines = [record.message for record in caplog.records if record.name == "triptych.data"]
    assert sorted(lines) == ["skipped sample 11, number 11: it is bad", "skipped sample 3, number 3: it is bad"]


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_bad_samples_end_the_run(workers: int, numbers: Callable[..., Source]) -> None:
    run = loader(numbers(40, bad=range(0, 40, 4)), workers=workers, max_bad_fraction=0.2)
    with pytest.raises(UserError, match=r"9 of \d+ samples seen .* above data.max_bad_fraction=0.2. First: number \d+"):
        kept(run)


def test_bad_samples_below_the_limit_do_not_end_it(numbers: Callable[..., Source]) -> None:
    run = loader(numbers(40, bad=range(0, 40, 4)), max_bad_fraction=0.25)
    for _ in range(3):
        assert sum(len(batch["index"]) for batch in kept(run)) == 30


@pytest.mark.parametrize("workers", [0, 2])
def test_a_step_whose_samples_are_all_bad_takes_the_next_ones(workers: int, numbers: Callable[..., Source]) -> None:
    order = Order(12, 3, seed=5)
    source = numbers(12, bad=order.indices(1).tolist())
    run = StepLoader(source, order, CentreCrop(4), Stacked((3, 4, 4)), BadSamples(12, 0.9), workers=workers)
    batches = kept(run)
    assert [batch["index"].tolist() for batch in batches] == [order.indices(step).tolist() for step in (0, 2, 2, 3)]
    run.start_step = 1
    assert_same(kept(run), batches[1:])


def test_evaluation_leaves_out_a_step_whose_samples_are_all_bad(numbers: Callable[..., Source]) -> None:
    run = loader(numbers(12, bad=range(4, 8)), training=False)
    assert torch.cat([batch["index"] for batch in kept(run)]).tolist() == [0, 1, 2, 3, 8, 9, 10, 11]


def test_each_rank_of_an_evaluation_has_as_many_batches_though_its_own_samples_are_bad(
    numbers: Callable[..., Source],
) -> None:
    ranks = [loader(numbers(12, bad=[4, 5]), training=False, rank=rank, world_size=2) for rank in range(2)]
    first, second = map(kept, ranks)
    assert [batch["index"].tolist() for batch in first] == [[0, 1], [], [8, 9]]
    assert [batch["index"].tolist() for batch in second] == [[2, 3], [6, 7], [10, 11]]
    assert first[1]["image"].shape[0] == 0
    assert first[1]["label"].dtype == torch.int64
    assert [run.bad.count for run in ranks] == [2, 0]


def test_a_data_set_with_no_good_sample_is_told(numbers: Callable[..., Source]) -> None:
    with pytest.raises(UserError, match="none of the 8 samples can be read"):
        kept(loader(numbers(8, bad=range(8)), max_bad_fraction=1.0))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_wrong_size_is_told_without_a_traceback(workers: int) -> None:
    run = loader(Gradient(4), transform=CentreCrop(5), workers=workers)
    with pytest.raises(UserError) as told:
        kept(run)
    assert "is (3, 5, 5) after its transform, and (3, 4, 4) (channels, height, width) is expected" in str(told.value)
    assert "Traceback" not in str(told.value)


class Deadly(Gradient):
    """Sample 7 kills whoever reads it, as a crash in a decoder does."""

    def read(self, index: int) -> tuple[Tensor, int]:
        if index == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(index)

    def name(self, index: int) -> str:
        return f"file-{index}.png"


@pytest.mark.slow
def test_a_dead_worker_is_told_with_the_file_it_was_reading() -> None:
    before = signal.getsignal(signal.SIGCHLD)
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"a data worker died: .*file-7.png"):
        kept(loader(Deadly(40), workers=2))
    assert time.monotonic() - begun < 30
    assert signal.getsignal(signal.SIGCHLD) == before
    gc.collect()


class Hanging(Gradient):
    """Sample 7 is never read to its end, as on storage that hangs; any other takes a while."""

    def __init__(self, size: int, seconds: float, forever: int = 7) -> None:
        super().__init__(size)
        self.seconds, self.forever = seconds, forever

    def read(self, index: int) -> tuple[Tensor, int]:
        time.sleep(600 if index == self.forever else self.seconds)
        return super().read(index)

    def name(self, index: int) -> str:
        return f"file-{index}.png"


@pytest.mark.slow
def test_a_worker_that_hangs_is_told_with_its_file_in_bounded_time() -> None:
    run = loader(Hanging(40, seconds=0.0), workers=2)
    run.patience = 1.0
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"data workers have given nothing for 1 s .*file-7.png"):
        kept(run)
    assert time.monotonic() - begun < 20
    gc.collect()


@pytest.mark.slow
def test_a_slow_worker_is_waited_for() -> None:
    """A batch takes twice the patience, but each of its samples only a part of it."""
    run = loader(Hanging(8, seconds=0.5, forever=-1), workers=1)
    run.patience = 1.0
    assert len(kept(run)) == 2
    gc.collect()
