"""A run killed at any step, resumed, killed and resumed again is the run that was never interrupted, bit for bit."""

import csv
import json
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from triptych.command.start import start

pytestmark = pytest.mark.slow

# The children import torch once, in a server that forks them.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["triptych.run", "triptych.command.start"])

STEPS_PER_EPOCH = 5
SETTINGS = [
    "data=folder", "name=killed", "data.batch_size=8", "data.workers=2", "data.mean=[0.5,0.5,0.5]",
    "model=vit_nano_patch16_64", "model.tower.image_size=16", "model.tower.patch.patch_size=4", "model.tower.dim=16",
    "model.tower.depth=2", "model.tower.mixer.heads=2", "model.tower.stochastic_depth=0.3",
    "model.tower.patch_dropout=0.25",
    "ema=ema", "objective/mix=mixup_cutmix", "trainer.epochs=4", "trainer.validate_every=1", "trainer.log_every=1",
    "checkpoint.every_steps=2", "logger=null", "trainer.threads=1", "trainer.accelerator=cpu",
]  # fmt: skip


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three classes of random pictures: 38 to train on, so that the last batch of an epoch is short."""
    draw = random.Random(0)
    for name, count in (("cat", 16), ("dog", 14), ("owl", 14)):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for number in range(count):
            size = (draw.randint(12, 24), draw.randint(12, 24))
            Image.frombytes("RGB", size, draw.randbytes(3 * size[0] * size[1])).save(folder / f"{number}.png")
    return tmp_path / "pictures"


def launch(words: list[str]) -> BaseProcess:
    process = CONTEXT.Process(target=start, args=("train", words))
    process.start()
    return process


def finish(words: list[str]) -> None:
    process = launch(words)
    process.join(120)
    assert process.exitcode == 0


def only_run(output: Path) -> Path:
    (run,) = (output / "train" / "killed").iterdir()
    return run


def kill_after(process: BaseProcess, output: Path, step: int) -> None:
    """SIGKILL as soon as `step` is logged; whatever the process does at that moment."""
    deadline = time.monotonic() + 120
    while process.is_alive() and time.monotonic() < deadline:
        files = list(output.glob("train/killed/*/metrics.csv"))
        if files and last_step(files[0]) >= step:
            break
        time.sleep(0.002)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def last_step(metrics: Path) -> int:
    lines = metrics.read_text().splitlines()[1:]
    return max((int(line.split(",")[0]) for line in lines[:-1] if line[:1].isdigit()), default=0)


def trace(run: Path) -> list[dict[str, str]]:
    """Every logged row, as the text it was written in, without what a clock decides."""
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def weights(run: Path) -> dict[str, torch.Tensor]:
    last = run / "checkpoints" / "last"
    return {
        f"{name}/{key}": value
        for name in ("model", "ema")
        for key, value in load_file(last / f"{name}.safetensors").items()
    }


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_twice_and_resumed_equals_never_interrupted(pictures: Path, tmp_path: Path, seed: int) -> None:
    words = [*SETTINGS, f"data.root={pictures}", f"seed={seed}"]
    finish([*words, f"output={tmp_path / 'whole'}"])
    whole = only_run(tmp_path / "whole")
    assert [int(row["step"]) for row in trace(whole)] == list(range(1, 4 * STEPS_PER_EPOCH + 1))

    draw = random.Random(seed)
    output = tmp_path / "broken"
    kill_after(launch([*words, f"output={output}"]), output, draw.randint(3, 9))
    broken = only_run(output)
    for step in (draw.randint(10, 16), None):
        resumed = launch([f"resume={broken}"])
        if step is not None:
            kill_after(resumed, output, step)
        else:
            resumed.join(120)
            assert resumed.exitcode == 0
    assert trace(broken) == trace(whole)
    expected, found = weights(whole), weights(broken)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_resume_goes_on_for_longer(pictures: Path, tmp_path: Path) -> None:
    finish([*SETTINGS, f"data.root={pictures}", f"output={tmp_path}", "trainer.epochs=1"])
    run = only_run(tmp_path)
    finish([f"resume={run}", "trainer.epochs=2"])
    assert [int(row["step"]) for row in trace(run)] == list(range(1, 2 * STEPS_PER_EPOCH + 1))
    # However the program was started: the command is what a user would type.
    command = json.loads((run / "summary.json").read_text())["command"]
    assert command == f"triptych train resume='{run}' trainer.epochs=2"
