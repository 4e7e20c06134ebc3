"""`triptych statistics`: what a front end normalises by."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from triptych.cli import main
from triptych.features.mel_presets import ast


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Noise of three loudnesses, two clips a class."""
    random = np.random.default_rng(0)
    for name, loudness in (("soft", 0.01), ("middle", 0.1), ("loud", 0.5)):
        folder = tmp_path / "sounds" / name
        folder.mkdir(parents=True)
        for number in range(3):
            samples = loudness * random.standard_normal(2000 + 500 * number)
            soundfile.write(folder / f"{number}.wav", samples, 8000, subtype="FLOAT")
    return tmp_path / "sounds"


def test_the_words_to_train_with_are_those_of_all_frames(sounds: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["data=audio_folder", f"data.root={sounds}", "data.train.validation_fraction=0.01", "data.workers=0"]
    assert main(["statistics", *words, "data.front_end.mel_bins=40", "data.front_end.sample_rate=8000"]) == 0
    told = capfd.readouterr().out + capfd.readouterr().err
    found = re.search(r"data\.front_end\.mean=(\S+) data\.front_end\.std=(\S+)", told)
    assert found
    front_end = ast(mel_bins=40, sample_rate=8000).unnormalised
    # One of three clips of each class is held back at least.
    frames = [
        front_end(torch.from_numpy(soundfile.read(path, dtype="float32")[0])).flatten()
        for path in sorted(sounds.rglob("*.wav"))
    ]
    whole = torch.cat(frames)
    assert float(found[1]) == pytest.approx(float(whole.mean()), abs=0.3)
    assert float(found[2]) == pytest.approx(float(whole.std()), abs=0.3)


def test_pictures_have_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["statistics", "data=emoji", "data.image_size=64"]) == 2
    assert "data are no sounds" in capsys.readouterr().err
