"""The command as a user starts it: a stop that saves, a loss that is not finite, a sweep, a run that is finished."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from triptych.command.start import start

pytestmark = pytest.mark.slow

SETTINGS = [
    "data=folder", "name=small", "data.batch_size=8", "data.workers=0", "model.tower.image_size=16",
    "model.tower.patch.patch_size=4", "model.tower.dim=16", "model.tower.depth=1", "model.tower.mixer.heads=2",
    "logger=null", "trainer.accelerator=cpu", "trainer.threads=1", "trainer.log_every=1",
]  # fmt: skip


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    draw = random.Random(0)
    for name in ("cat", "dog"):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for number in range(20):
            Image.frombytes("RGB", (16, 16), draw.randbytes(768)).save(folder / f"{number}.png")
    return tmp_path / "pictures"


def wait_for_training(process: subprocess.Popen[str], output: Path) -> None:
    """Until some steps are written down."""
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size > 200 for path in output.glob("train/small/*/metrics.csv")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)


def runs(output: Path) -> list[Path]:
    return sorted((output / "train" / "small").iterdir())


@pytest.mark.parametrize("receiver", ["process", "group"])
def test_sigterm_saves_and_exits_with_143(pictures: Path, tmp_path: Path, receiver: str) -> None:
    """Service managers and schedulers send it to all processes of the group, the loader's workers too."""
    words = [
        *SETTINGS,
        "data.workers=2",
        f"data.root={pictures}",
        f"output={tmp_path}",
        "trainer.epochs=10000",
        "trainer.validate_every=50",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "triptych.cli", "train", *words],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for_training(process, tmp_path)
    (os.kill if receiver == "process" else os.killpg)(process.pid, signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    (run,) = runs(tmp_path)
    assert "stopped by SIGTERM at step" in printed
    assert f"triptych train resume={run}" in printed
    assert "Traceback" not in printed
    last = (run / "checkpoints" / "last").resolve().name
    assert last.startswith("step_")
    assert json.loads((run / "summary.json").read_text())["status"] == "stopped by SIGTERM"


def test_a_stop_ends_a_whole_sweep(pictures: Path, tmp_path: Path) -> None:
    words = [*SETTINGS, f"data.root={pictures}", f"output={tmp_path}", "trainer.epochs=10000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "triptych.cli", "train", "-m", "seed=0,1", *words], cwd=tmp_path, text=True
    )
    wait_for_training(process, tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert len(runs(tmp_path)) == 1


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_weights_of_another_type_train(pictures: Path, tmp_path: Path, precision: str) -> None:
    words = [*SETTINGS, f"data.root={pictures}", f"output={tmp_path}", "trainer.max_steps=2"]
    position = "model.tower.position=sinusoidal"
    assert start("train", [*words, f"trainer.precision={precision}", position]) == 0


def test_a_resume_keeps_what_it_changed_and_may_start_at_an_older_save(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SETTINGS, f"data.root={pictures}", f"output={tmp_path}", "checkpoint.every_steps=1", "checkpoint.keep=9"]
    assert start("train", [*words, "trainer.max_steps=2"]) == 0
    (run,) = runs(tmp_path)
    assert start("train", [f"resume={run}", "trainer.max_steps=4"]) == 0
    capsys.readouterr()
    assert start("train", [f"resume={run}"]) == 2
    message = capsys.readouterr().err
    assert "it has made 4 steps of 4. To go on for longer, raise trainer.max_steps above 4" in message
    weights = run / "checkpoints" / "last" / "model.safetensors"
    trained = weights.read_bytes()
    weights.write_bytes(trained[:-1] + b"x")
    assert start("train", [f"resume={run}"]) == 2
    older = run / "checkpoints" / "step_0000003"
    assert f"The newest other whole checkpoint is {older}: name it to go on from there" in capsys.readouterr().err
    assert start("train", [f"resume={older}"]) == 0
    assert weights.read_bytes() == trained
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert [row["step"] for row in rows if row["train/loss"]] == ["1", "2", "3", "4"]


def test_best_is_the_smallest_loss_where_a_loss_is_monitored(pictures: Path, tmp_path: Path) -> None:
    words = [*SETTINGS, f"data.root={pictures}", f"output={tmp_path}", "checkpoint.monitor=val/loss"]
    assert start("train", [*words, "trainer.epochs=3", "trainer.validate_every=0.4", "optimizer.lr=0.05"]) == 0
    (run,) = runs(tmp_path)
    rows = [row for row in csv.DictReader((run / "metrics.csv").read_text().splitlines()) if row["val/loss"]]
    smallest = min(rows, key=lambda row: float(row["val/loss"]))
    assert len(rows) > 3
    assert (run / "checkpoints" / "best").resolve().name == f"step_{int(smallest['step']):07d}"


def test_a_loss_that_is_not_finite_names_the_last_good_checkpoint(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SETTINGS, f"data.root={pictures}", f"output={tmp_path}", "trainer.epochs=20", "objective.clip=null"]
    wild = ["optimizer.lr=1e30", "optimizer.weight_decay=0", "schedule=constant", "checkpoint.every_steps=1"]
    assert start("train", [*words, *wild]) == 3
    message = capsys.readouterr().err
    assert "error: " in message
    assert "at step" in message
    (run,) = runs(tmp_path)
    assert "There is no checkpoint yet" in message or str(run / "checkpoints" / "step_") in message


def test_a_sweep_makes_a_run_for_each_choice(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words = [*SETTINGS, f"data.root={pictures}", f"output={tmp_path}", "trainer.max_steps=1"]
    assert start("train", ["-m", "seed=0,1", *words]) == 0
    assert [json.loads((run / "summary.json").read_text())["seed"] for run in runs(tmp_path)] == [0, 1]
    assert list((tmp_path / "here").iterdir()) == []


def test_a_finished_run_says_how_to_go_on(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SETTINGS, f"data.root={pictures}", f"output={tmp_path}", "trainer.epochs=0.2"]
    assert start("train", words) == 0
    (run,) = runs(tmp_path)
    assert {"config.yaml", "metrics.csv", "summary.json", "report.html", "run.log", "plots", "checkpoints"} <= {
        path.name for path in run.iterdir()
    }
    assert {"curves.png", "confusion.png", "predictions.png"} <= {path.name for path in (run / "plots").iterdir()}
    capsys.readouterr()
    assert start("train", [f"resume={run}"]) == 2
    assert "is finished: it has made 1 steps of 1. To go on for longer, raise trainer.epochs" in capsys.readouterr().err
    assert start("train", [f"resume={run}", "trainer.epochs=0.6"]) == 0
    assert json.loads((run / "summary.json").read_text())["steps"] == 3


def test_a_run_that_was_killed_before_its_report_is_told_by_a_resume(pictures: Path, tmp_path: Path) -> None:
    words = [*SETTINGS, f"data.root={pictures}", f"output={tmp_path}", "trainer.epochs=0.2"]
    assert start("train", words) == 0
    (run,) = runs(tmp_path)
    told = json.loads((run / "summary.json").read_text())
    trace = (run / "metrics.csv").read_bytes()
    weights = (run / "checkpoints/last/model.safetensors").read_bytes()
    (run / "report.html").unlink()
    (run / "summary.json").write_text("")
    assert start("train", [f"resume={run}"]) == 0
    again = json.loads((run / "summary.json").read_text())
    assert again["status"] == "finished"
    assert again["metrics"]["val/loss"] == told["metrics"]["val/loss"]
    assert (run / "metrics.csv").read_bytes() == trace
    assert (run / "checkpoints/last/model.safetensors").read_bytes() == weights
    assert (run / "report.html").exists()
    assert start("train", [f"resume={run}"]) == 2  # now it is finished


def test_weights_start_a_run_with_another_number_of_classes(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SETTINGS, f"output={tmp_path}", "trainer.max_steps=1"]
    assert start("train", [*words, f"data.root={pictures}"]) == 0
    (first,) = runs(tmp_path)
    (pictures / "owl").mkdir()
    for path in list((pictures / "cat").iterdir()):
        (pictures / "owl" / path.name).write_bytes(path.read_bytes())
    assert start("train", [*words, f"data.root={pictures}", f"weights={first}"]) == 0
    assert "2 new (head.weight, head.bias)" in capsys.readouterr().out
    assert start("train", [*words, f"data.root={pictures}", f"weights={first}", "model.tower.dim=8"]) == 2
    assert "do not fit this model" in capsys.readouterr().err
