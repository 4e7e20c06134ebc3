"""Two processes evaluate as one does, to the last bit, on a set that they cannot share evenly."""

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
from triptych.models.classifier import Classifier

from ..evaluation.conftest import COLOURS, draw_picture

TRIPTYCH = "import sys; from triptych.cli import main; sys.exit(main())"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "triptych.cli"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of three colours, and 11 pictures beside it, one of which is broken."""
    root = tmp_path_factory.mktemp("two")
    torch.manual_seed(0)
    model = triptych.create(
        "vit_tiny_patch16_224", num_classes=3, overrides={"tower.dim": 48, "tower.depth": 2, "tower.image_size": 32}
    )
    assert isinstance(model, Classifier)
    assert model.config is not None
    model.config["classes"] = sorted(COLOURS)
    model.config["preprocess"] = model.preprocess.to_dict()
    triptych.export(model, root / "model")
    draw = random.Random(0)
    for colour, count in (("blue", 5), ("green", 2), ("red", 4)):
        for number in range(count):
            draw_picture(root / "pictures" / "val" / colour / f"{number}.png", colour, draw, (30, 44))
        draw_picture(root / "pictures" / "train" / colour / "0.png", colour, draw)
    broken = root / "pictures" / "val" / "green" / "1.png"
    broken.write_bytes(broken.read_bytes()[:99])
    return root


def settings(root: Path, name: str) -> list[str]:
    return [
        f"checkpoint={root / 'model'}", "data=folder", "data.batch_size=4", f"data.root={root / 'pictures'}",
        f"output={root / name}", "device.accelerator=cpu", "device.threads=1", "data.workers=0", "resamples=50",
        "probabilities=true",
    ]  # fmt: skip


def run(root: Path, name: str, program: list[str], *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, *program, "evaluate", *settings(root, name), *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(("program", "words"), [(["-c", TRIPTYCH], ["devices=2"]), (TORCHRUN, [])])
def test_two_processes_equal_one_bit_for_bit(checkpoint: Path, program: list[str], words: list[str]) -> None:
    """10 samples in batches of 4: one process has 4 and 3 of them, the other 3 (and the broken one)."""
    name = f"two_{len(program)}"
    done = run(checkpoint, name, program, *words)
    assert done.returncode == 0, done.stderr
    if not (checkpoint / "one").exists():
        threads = torch.get_num_threads()
        assert start("evaluate", settings(checkpoint, "one")) == 0
        torch.set_num_threads(threads)
    one, two = (next((checkpoint / each).glob("evaluate/*/*")) for each in ("one", name))
    assert len((one / "predictions.csv").read_text().splitlines()) == 1 + 10
    for file in ("predictions.csv", "per_class.csv"):
        assert (one / file).read_bytes() == (two / file).read_bytes()
    numbers = [json.loads((each / "metrics.json").read_text()) for each in (one, two)]
    assert numbers[0]["sets"] == numbers[1]["sets"]
    assert [each["device"]["count"] for each in numbers] == [1, 2]
    assert [each["reason"] for each in numbers[0]["sets"]["val"]["unreadable"]] != []
    assert done.stdout.count("macro_f1") == 1, "one process speaks"


@pytest.mark.slow
def test_a_mistake_of_both_is_told_once(checkpoint: Path) -> None:
    done = run(checkpoint, "never", ["-c", TRIPTYCH], "devices=2", "sets=[nothing]")
    assert done.returncode == 2
    assert done.stderr.count("error: ") == 1
    assert "sets has 'nothing', which is no set of these data" in done.stderr
    assert not (checkpoint / "never").exists()
