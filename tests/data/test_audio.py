"""The data of a run of sounds: clips of any length in one order, cut, changed and cached alike, whoever reads them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from triptych.data.audio import AudioData
from triptych.data.folder import FolderSource
from triptych.data.loader import StepLoader
from triptych.data.waveform_transforms import Gain, Speed
from triptych.errors import UserError
from triptych.features import mel_presets
from triptych.features.waveforms import Waveforms

LENGTHS = (400, 401, 700, 1_600, 4_000, 9_000)


@pytest.fixture
def folder(tmp_path: Path, sound: Callable[..., bytes]) -> str:
    """12 sounds each in `train/a`, `train/b`, `val/a` and `val/b`, of lengths that differ."""
    for place, name in enumerate(("train/a", "train/b", "val/a", "val/b")):
        (tmp_path / name).mkdir(parents=True)
        for number in range(12):
            data = sound(12 * place + number, "wav", LENGTHS[number % len(LENGTHS)])
            (tmp_path / name / f"{number:02}.wav").write_bytes(data)
    return str(tmp_path)


def data(folder: str, **options: Any) -> AudioData:
    settings: dict[str, Any] = {"augment": None, "front_end": mel_presets.ast(), "batch_size": 5} | options
    return AudioData(
        partial(FolderSource, split="train"),
        {"val": partial(FolderSource, split="validation")},
        root=folder,
        **settings,
    )


def batches(loader: StepLoader) -> list[dict[str, Any]]:
    return list(iter(loader))


def clips(batch: dict[str, Any]) -> list[Tensor]:
    found = batch["audio"]
    assert isinstance(found, Waveforms)
    assert found.sample_rate == 16_000
    return list(found)


def test_every_clip_comes_once_as_it_is(folder: str, waveform: Callable[..., Tensor]) -> None:
    made = data(folder)
    seen = {}
    for batch in batches(made.val_dataloader()[0]):
        for clip, index in zip(clips(batch), batch["index"].tolist(), strict=True):
            seen[index] = clip
    assert sorted(seen) == list(range(24))
    for index, clip in seen.items():
        assert torch.equal(clip, waveform(24 + index, LENGTHS[index % 12 % len(LENGTHS)])[0])


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_depend_on_the_seed_alone(workers: int, cache: bool, folder: str) -> None:
    options = {"augment": Speed((0.8, 1.25)), "max_seconds": 0.2}
    reference = batches(data(folder, **options).train_dataloader())
    found = batches(data(folder, workers=workers, cache=cache, **options).train_dataloader())
    assert len(found) == len(reference)
    for one, other in zip(found, reference, strict=True):
        assert torch.equal(one["audio"].samples, other["audio"].samples)
        assert one["audio"].lengths == other["audio"].lengths
        assert torch.equal(one["label"], other["label"])
    another = batches(data(folder, seed=1, **options).train_dataloader())
    assert any(one["audio"].lengths != other["audio"].lengths for one, other in zip(another, reference, strict=True))


def test_long_clips_are_cut(folder: str, waveform: Callable[..., Tensor]) -> None:
    made = data(folder, max_seconds=0.1)
    for batch in batches(made.val_dataloader()[0]):
        for clip, index in zip(clips(batch), batch["index"].tolist(), strict=True):
            whole = waveform(24 + index, LENGTHS[index % 12 % len(LENGTHS)])[0]
            start = max(0, len(whole) - 1_600) // 2
            assert torch.equal(clip, whole[start : start + 1_600])
    starts = set()
    for epoch in range(3):
        loader = made.train_dataloader()
        loader.start_step = epoch * made.steps_per_epoch
        for batch in batches(loader):
            for clip, index in zip(clips(batch), batch["index"].tolist(), strict=True):
                length = LENGTHS[index % 12 % len(LENGTHS)]
                assert len(clip) == min(length, 1_600)
                windows = waveform(index, length)[0].unfold(0, len(clip), 1)
                where = (windows == clip).all(1).nonzero().flatten().tolist()
                assert len(where) == 1
                starts.update(where)
    assert len(starts) > 10


def test_a_change_of_speed_never_leaves_less_than_a_frame(folder: str) -> None:
    """Clips of 400 samples are one frame: at twice the speed they would be none."""
    for batch in batches(data(folder, augment=Speed((2.0, 2.0))).train_dataloader()):
        assert all(length >= 400 for length in batch["audio"].lengths)


def test_changes_are_for_training_alone(folder: str) -> None:
    plain, louder = (
        torch.cat([batch["audio"].samples for batch in batches(loader)])
        for made in [data(folder, augment=Gain((6.0, 6.0)))]
        for loader in (made.val_dataloader()[0], made.train_dataloader())
    )
    assert louder.abs().max() / plain.abs().max() == pytest.approx(10**0.3, rel=0.02)


def test_clips_shorter_than_a_frame_of_the_front_end_are_skipped(folder: str) -> None:
    """PaSST's windows are 32 ms long: of 400, 401 and 700 samples at 16 kHz none has a frame at 32 kHz but the last."""
    made = data(folder, front_end=mel_presets.passt(), max_bad_fraction=0.5)
    least = made.front_end.min_samples
    lengths = [length for batch in batches(made.val_dataloader()[0]) for length in batch["audio"].lengths]
    wanted = sorted(2 * length for length in LENGTHS for _ in range(4) if 2 * length >= least)
    assert sorted(lengths) == wanted
    assert made.skipped == 24 - len(wanted)


def test_too_many_bad_sounds_end_the_run(folder: str) -> None:
    for path in Path(folder).glob("val/*/*.wav"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"cut short"):
        batches(data(folder).val_dataloader()[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_seconds": 0}, "data.max_seconds is 0; it must be above 0"),
        ({"max_batch_seconds": 5, "max_seconds": 10}, "data.max_batch_seconds is 5, below the data.max_seconds=10 of"),
        ({"stereo": "both"}, "stereo is 'both'; it must be one of mean, left, right, refuse"),
        ({"workers": -1}, "data.workers is -1; it must not be negative"),
        ({"max_bad_fraction": 2}, "data.max_bad_fraction is 2; it must lie between 0 and 1"),
    ],
)
def test_settings_out_of_range_are_told(options: dict[str, Any], message: str, folder: str) -> None:
    with pytest.raises(UserError, match=message):
        data(folder, **options)


def test_a_longest_clip_without_a_frame_is_told(folder: str) -> None:
    with pytest.raises(UserError, match=r"data.max_seconds is 0.01, shorter than one frame \(0.025 s\)"):
        data(folder, max_seconds=0.01)
