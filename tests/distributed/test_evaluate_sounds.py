"""Two processes evaluate sounds of differing lengths as one does, to the last bit, on a set that does not divide."""

import json
from pathlib import Path

import pytest
import torch

import triptych
from triptych.command.start import start
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.mel_presets import ast
from triptych.models.classifier import Classifier

from ..sounds import RATE, tone, write
from .test_evaluate import TRIPTYCH, run, settings

KINDS = {"high": 1800, "low": 300}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of two tones, and 11 sounds beside it, one of which is broken."""
    root = tmp_path_factory.mktemp("two")
    torch.manual_seed(0)
    model = triptych.create(
        "ast_nano", num_classes=2,
        overrides={"tower.dim": 24, "tower.depth": 2, "tower.mel_bins": 32, "tower.patch.patch_size": [32, 4]},
    )  # fmt: skip
    assert isinstance(model, Classifier)
    assert model.config is not None
    model.config["classes"] = sorted(KINDS)
    model.config["preprocess"] = AudioPreprocess(ast(mel_bins=32, sample_rate=RATE), 0.4).to_dict()
    triptych.export(model, root / "model")
    for number in range(11):
        kind = "low" if number % 3 else "high"
        write(root / "sounds" / "val" / kind / f"{number}.wav", tone(KINDS[kind], 0.1 + 0.06 * number, seed=number))
        write(root / "sounds" / "train" / kind / "0.wav", tone(KINDS[kind]))
    broken = root / "sounds" / "val" / "high" / "3.wav"
    broken.write_bytes(broken.read_bytes()[:99])
    return root


@pytest.mark.slow
def test_two_processes_equal_one_bit_for_bit(checkpoint: Path) -> None:
    """10 sounds in batches of 4: one process has 4 and 2 or 3 of them, the other the rest and the broken one."""
    words = ["data=audio_folder", f"data.root={checkpoint / 'sounds'}"]
    done = run(checkpoint, "two", ["-c", TRIPTYCH], "devices=2", *words)
    assert done.returncode == 0, done.stderr
    assert start("evaluate", [*settings(checkpoint, "one"), *words]) == 0
    one, two = (next((checkpoint / each).glob("evaluate/*/*")) for each in ("one", "two"))
    assert len((one / "predictions.csv").read_text().splitlines()) == 1 + 10
    for file in ("predictions.csv", "per_class.csv"):
        assert (one / file).read_bytes() == (two / file).read_bytes()
    numbers = [json.loads((each / "metrics.json").read_text()) for each in (one, two)]
    assert numbers[0]["sets"] == numbers[1]["sets"]
    assert [each["device"]["count"] for each in numbers] == [1, 2]
    (unreadable,) = numbers[0]["sets"]["val"]["unreadable"]
    assert "cut short" in unreadable["reason"]
