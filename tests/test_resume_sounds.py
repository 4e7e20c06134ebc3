"""A run on sounds that is killed and resumed is the run that was never interrupted, bit for bit."""

import random
from pathlib import Path

import pytest
import torch

from .sounds import RATE, tone, write
from .test_resume import finish, kill_after, launch, only_run, trace, weights

pytestmark = pytest.mark.slow

SETTINGS = [
    "data=audio_folder", "name=killed", "data.batch_size=8", "data.workers=2", "data.max_seconds=0.2",
    "data.max_batch_seconds=0.7", f"data.front_end.sample_rate={RATE}", "data.front_end.mel_bins=32", "model=ast_nano",
    "model.tower.mel_bins=32", "model.tower.patch.patch_size=[16,4]", "model.tower.dim=16", "model.tower.depth=2",
    "model.tower.mixer.heads=2", "model.tower.stochastic_depth=0.3", "model.tower.patchout.time=0.3",
    "data/augment=waveform", "objective/mix=clips", "objective/mask=spec_augment", "objective.mask.frequency_width=6",
    "objective.mask.time_width=8", "ema=ema", "trainer.epochs=4", "trainer.validate_every=1", "trainer.log_every=1",
    "checkpoint.every_steps=2", "logger=null", "trainer.threads=1", "trainer.accelerator=cpu",
]  # fmt: skip


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """Three classes of tones of any length: 30 to train on, so that the last batch of an epoch is short."""
    draw = random.Random(0)
    for place, kind in enumerate(("high", "low", "middle")):
        for number in range(12):
            signal = tone((1800, 300, 800)[place], draw.uniform(0.1, 0.5), seed=number)
            write(tmp_path / "tones" / kind / f"{number}.wav", signal)
    return tmp_path / "tones"


def test_killed_twice_and_resumed_equals_never_interrupted(tones: Path, tmp_path: Path) -> None:
    words = [*SETTINGS, f"data.root={tones}"]
    finish([*words, f"output={tmp_path / 'whole'}"])
    whole = only_run(tmp_path / "whole")
    assert [int(row["step"]) for row in trace(whole)] == list(range(1, len(trace(whole)) + 1))
    draw = random.Random(1)
    output = tmp_path / "broken"
    kill_after(launch([*words, f"output={output}"]), output, draw.randint(3, 7))
    broken = only_run(output)
    resumed = launch([f"resume={broken}"])
    kill_after(resumed, output, draw.randint(9, 12))
    finish([f"resume={broken}"])
    assert len(trace(whole)) >= 4 * 4
    assert trace(broken) == trace(whole)
    expected, found = weights(whole), weights(broken)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
