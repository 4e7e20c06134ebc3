"""Batches of clips of any lengths are the clips themselves; augmentation hangs on seed, epoch and sample alone."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from triptych.data.audio import AudioData
from triptych.data.cache import CachedSource
from triptych.data.collation import Clips, collation_of
from triptych.data.loader import BadSamples, StepLoader
from triptych.data.order import Order
from triptych.data.source import BadSample
from triptych.data.waveform_transforms import Chain, Noise, RandomSegment, Speed
from triptych.errors import UserError
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.mel_presets import ast, clap
from triptych.features.waveforms import Waveforms

FRONT_END = ast(mel_bins=32, sample_rate=8000)
LEAST = FRONT_END.min_samples


class Ramps:
    """Clip `index` has a length of its own, and samples that tell which they are; the clips in `bad` cannot be read."""

    multilabel = False

    def __init__(self, size: int, longest: int = 4000, bad: Iterable[int] = ()) -> None:
        self.classes = ["a", "b", "c"]
        self.size, self.longest, self.bad = size, longest, set(bad)

    def __len__(self) -> int:
        return self.size

    def name(self, index: int) -> str:
        return f"ramp {index}"

    def read(self, index: int) -> tuple[Tensor, int]:
        if index in self.bad:
            raise BadSample("it is bad")
        length = LEAST + index * 997 % (self.longest - LEAST + 1)
        return (torch.arange(length) / 2**13 + index)[None], index % 3


def loader(source: Any, transform: Any = None, most_seconds: float = 0.5, **options: Any) -> StepLoader:
    order = Order(len(source), 6, seed=3)
    clips = Clips(AudioPreprocess(FRONT_END, most_seconds))
    return StepLoader(source, order, transform or (lambda clip: clip), clips, BadSamples(len(source), 0.2), **options)


def kept(batches: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value.clone() for key, value in batch.items()} for batch in batches]


def assert_same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    assert len(one) == len(other) > 0
    for left, right in zip(one, other, strict=True):
        assert left["audio"].lengths == right["audio"].lengths
        for key in ("label", "index"):
            assert torch.equal(left[key], right[key])
        assert torch.equal(left["audio"].samples, right["audio"].samples)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("longest", [4000, 20_000], ids=["within the buffers", "beyond the buffers"])
def test_a_batch_is_its_clips_bit_for_bit(workers: int, longest: int) -> None:
    """With clips far beyond the usual length a batch does not fit the loader's buffers, and is the same."""
    source = Ramps(19, longest)
    found = kept(loader(source, workers=workers))
    assert [len(batch["audio"]) for batch in found] == [6, 6, 6, 1]
    for batch in found:
        assert isinstance(batch["audio"], Waveforms)
        assert batch["audio"].sample_rate == 8000
        for clip, index, label in zip(batch["audio"], batch["index"].tolist(), batch["label"].tolist(), strict=True):
            assert torch.equal(clip, source.read(index)[0][0])
            assert label == index % 3
    if longest > 4000:
        assert max(batch["audio"].samples.numel() for batch in found) > 6 * 4000


def test_held_batches_are_not_written_over() -> None:
    run = iter(loader(Ramps(60), workers=2))
    held = [next(run) for _ in range(9)]
    assert_same(held, kept(loader(Ramps(60)))[:9])


def test_kept_in_memory_they_are_the_same() -> None:
    source = Ramps(19, bad=[4])
    cached = CachedSource(source)
    for index in (0, 7, 18):
        assert torch.equal(torch.as_tensor(cached.read(index)[0]), source.read(index)[0])
        assert cached.read(index)[1] == index % 3
    with pytest.raises(BadSample, match="it is bad"):
        cached.read(4)
    assert_same(kept(loader(cached, workers=2)), kept(loader(source)))


@pytest.mark.parametrize("world_size", [2, 3])
def test_slices_of_ranks_are_the_global_batch(world_size: int) -> None:
    parts = zip(*(loader(Ramps(19), rank=rank, world_size=world_size) for rank in range(world_size)), strict=True)
    for whole, slices in zip(kept(loader(Ramps(19))), parts, strict=True):
        assert torch.equal(torch.cat([part["index"] for part in slices]), whole["index"])
        clips = [clip for part in slices for clip in part["audio"]]
        assert all(torch.equal(left, right) for left, right in zip(clips, whole["audio"], strict=True))


def test_a_rank_without_samples_gets_an_empty_batch() -> None:
    batches = kept(loader(Ramps(7), rank=1, world_size=3))
    assert [len(batch["audio"]) for batch in batches] == [2, 0]
    assert isinstance(batches[1]["audio"], Waveforms)


def test_restarts_and_workers_change_no_augmented_clip() -> None:
    chain = Chain([RandomSegment(0.2, 8000), Noise((5, 20))])
    whole = loader(Ramps(19), chain)
    epochs = [kept(whole), kept(whole)]
    crew = loader(Ramps(19), chain, workers=2)
    for epoch in epochs:
        assert_same(kept(crew), epoch)
    restarted = loader(Ramps(19), chain, workers=2)
    restarted.start_step = 6
    assert_same(kept(restarted), epochs[1][2:])


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(2, 4000), torch.zeros(1, LEAST - 1), torch.zeros(1, 4000, dtype=torch.float64), torch.zeros(4000)],
    ids=["stereo", "short", "float64", "flat"],
)
def test_what_is_no_clip_is_told(wrong: Tensor) -> None:
    with pytest.raises(UserError, match=r"after its transform, and float32 \(1, samples\) with at least 200 samples"):
        kept(loader(Ramps(9), lambda _: wrong))


def data(source: Any, augment: Any = None, **settings: Any) -> AudioData:
    return AudioData(lambda: source, lambda: source, augment, FRONT_END, 6, **{"max_seconds": 0.2, **settings})


def by_sample(batches: Iterable[dict[str, Any]]) -> dict[int, Tensor]:
    return {
        index: clip.clone()
        for batch in batches
        for clip, index in zip(batch["audio"], batch["index"].tolist(), strict=True)
    }


def test_the_segment_of_a_long_clip_hangs_on_seed_epoch_and_sample() -> None:
    source = Ramps(12, 8000)
    one = data(source, seed=1)
    loaded = one.train_dataloader()
    epochs = [by_sample(loaded), by_sample(loaded)]
    again = data(source, seed=1, workers=2).train_dataloader()
    for epoch in epochs:
        assert all(torch.equal(clip, epoch[index]) for index, clip in by_sample(again).items())
    # Another batch size and company: the same segments.
    other = AudioData(lambda: source, lambda: source, None, FRONT_END, 4, 0.2, seed=1)
    assert all(torch.equal(clip, epochs[0][index]) for index, clip in by_sample(other.train_dataloader()).items())
    long = [index for index in range(12) if source.read(index)[0].shape[1] > 3000]
    assert sum(torch.equal(epochs[0][index], epochs[1][index]) for index in long) < len(long) / 2
    elsewhere = by_sample(data(source, seed=2).train_dataloader())
    assert sum(torch.equal(epochs[0][index], elsewhere[index]) for index in long) < len(long) / 2
    for index, clip in epochs[0].items():
        whole = source.read(index)[0][0]
        assert len(clip) == min(len(whole), 1600)
        start = int((whole == clip[0]).nonzero()[0, 0])
        assert torch.equal(clip, whole[start : start + len(clip)])


def test_validation_takes_the_middle() -> None:
    source = Ramps(12, 8000)
    (loaded,) = data(source).val_dataloader()
    for index, clip in by_sample(loaded).items():
        whole = source.read(index)[0][0]
        start = max(0, (len(whole) - 1600) // 2)
        assert torch.equal(clip, whole[start : start + 1600])


@settings(deadline=None, max_examples=20)
@given(least=st.floats(0.2, 1.0), more=st.floats(0.0, 3.0), length=st.integers(LEAST, 4000))
def test_no_clip_is_too_long_or_too_short_whatever_the_speed(least: float, more: float, length: int) -> None:
    made = data(Ramps(6, length), Speed((least, least + more)))
    for clip in by_sample(made.train_dataloader()).values():
        assert LEAST <= len(clip) <= 1600


def test_settings_out_of_range_are_told() -> None:
    for most in (0, -1.0):
        with pytest.raises(UserError, match=rf"data\.max_seconds is {most}; it must be above 0"):
            data(Ramps(3), max_seconds=most)
    with pytest.raises(UserError, match=r"max_seconds is 0\.01, and one frame of data\.front_end is 0\.025 s long"):
        data(Ramps(3), max_seconds=0.01)
    with pytest.raises(UserError, match=r"data\.max_batch_seconds is 0\.1, below the data\.max_seconds=0\.2 of one"):
        data(Ramps(3), max_batch_seconds=0.1)
    with pytest.raises(UserError, match="stereo is 'both'"):
        data(Ramps(3), stereo="both")


def test_sources_get_the_medium_of_the_front_end() -> None:
    given: list[Any] = []

    def factory(medium: Any = None) -> Ramps:
        given.append(medium)
        return Ramps(3)

    made = AudioData(factory, {"val": factory}, None, clap(), 2, stereo="left", resampling=False)
    made.setup("fit")
    assert [(each.sample_rate, each.stereo, each.resampling) for each in given] == [(48000, "left", False)] * 2
    assert given[0].least_seconds == pytest.approx(clap().min_samples / 48000)
    assert made.channels == 1
    assert made.front_end == clap()


def test_micro_batches_are_bounded_in_seconds() -> None:
    made = data(Ramps(12, 8000), max_batch_seconds=0.5)
    for batch in made.train_dataloader():
        clips = batch["audio"]
        cuts = clips.cuts()
        assert [place for cut in cuts for place in range(cut.start, cut.stop)] == list(range(len(clips)))
        assert all(sum(clips.lengths[cut]) <= 4000 for cut in cuts)
        assert len(cuts) > 1


def test_a_model_s_preprocessing_says_how_clips_are_joined() -> None:
    joined = collation_of(AudioPreprocess(FRONT_END))
    assert isinstance(joined, Clips)
    clips = [torch.rand(1, length) for length in (300, 200, 801)]
    joined_bytes = joined.join(clips)
    assert joined_bytes.dtype == torch.uint8
    assert tuple(joined_bytes.shape) == joined.shape(clips)
    again = joined.batch(joined_bytes, tuple((clip.shape[1],) for clip in clips))
    assert isinstance(again, Waveforms)
    assert all(torch.equal(left, right[0]) for left, right in zip(again, clips, strict=True))
