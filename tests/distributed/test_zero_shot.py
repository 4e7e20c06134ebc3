"""Two processes measure as one does, to the last bit, on sets that they cannot share evenly."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import triptych
from triptych.command.start import start

from ..evaluation.conftest import draw_picture
from ..zero_shot.conftest import small_pair
from ..zero_shot.test_zero_shot import PAIRS

TRIPTYCH = "import sys; from triptych.cli import main; sys.exit(main())"


@pytest.mark.slow
def test_two_processes_equal_one_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """11 pictures in batches of 4, one of them broken; classes, captions, probes and texts are shared, too."""
    monkeypatch.chdir(tmp_path)
    triptych.export(small_pair().eval(), tmp_path / "pair")
    draw, rows = random.Random(0), ["path,caption,colour,split"]
    for split in ("train", "val"):
        for colour, count in (("blue", 5), ("green", 2), ("red", 4)):
            for number in range(count):
                name = f"{split}/{colour}/{number}.png"
                draw_picture(tmp_path / name, colour, draw, (30, 44))
                rows += [f"{name},{caption},{colour},{split}" for caption in (f"a photo of {colour} {number}", colour)]
    broken = tmp_path / "val" / "green" / "1.png"
    broken.write_bytes(broken.read_bytes()[:99])
    (tmp_path / "captions.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "conf" / "data").mkdir(parents=True)
    data = PAIRS.replace("split: train, validation_fraction: 0.01", "split: validation, concept: colour")
    data = data.replace("{file: captions.csv}", "{file: captions.csv, concept: colour}")
    (tmp_path / "conf" / "data" / "mine.yaml").write_text(data)
    settings = [
        f"checkpoint={tmp_path / 'pair'}", "data=mine", "data.workers=0", f"data.root={tmp_path}",
        "device.accelerator=cpu", "device.threads=1", "resamples=50", "probe=true", "shots=[1]", "draws=2",
        "templates=emoji",
    ]  # fmt: skip
    threads = torch.get_num_threads()
    assert start("zero_shot", [*settings, "output=one"]) == 0
    torch.set_num_threads(threads)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-c", TRIPTYCH, "zero_shot", *settings, "output=two", "devices=2"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    one, two = (next((tmp_path / each).glob("zero_shot/*/*")) for each in ("one", "two"))
    assert len((one / "predictions.csv").read_text().splitlines()) == 1 + 10
    for file in ("predictions.csv", "per_class.csv"):
        assert (one / file).read_bytes() == (two / file).read_bytes()
    numbers = [json.loads((each / "summary.json").read_text()) for each in (one, two)]
    assert numbers[0]["sets"] == numbers[1]["sets"]
    found = numbers[0]["sets"]["val"]
    assert (found["classification"]["samples"], found["retrieval"]["left_out"]) == (10, 1)
    assert found["retrieval"]["texts"] == 13, "ten of their own, and the name of each colour once"
    assert found["probes"]["linear"] is not None
    assert [each["device"]["count"] for each in numbers] == [1, 2]
    assert done.stdout.count("image_to_text_recall_at_10") == 1, "one process speaks"
