"""What a whole small run leaves behind and prints; interrupted anywhere, its trace is the same."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from triptych.analysis.metrics import read_metrics
from triptych.rundir import RunDirectory, RunLog

SCRIPT = Path(__file__).with_name("toy_run.py")

# Lightning's own: it opens no worker, and asks torch in a way that torch has renamed.
pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*treespec.*"),
]


@pytest.fixture(scope="module")
def toy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("toy_run", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def new_run(folder: Path) -> RunDirectory:
    run = RunDirectory.create(folder, "train", "toy")
    run.write_config("name: <toy>\n")
    return run


def test_a_run_leaves_what_the_contract_says(
    toy: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = new_run(tmp_path)
    with RunLog(run.log):
        toy.fit(run, steps=40)
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert len([line for line in lines if line.startswith("training ")]) <= 10
    facts = r"epoch \d\.\d  loss \d\.\d{4}  lr 0\.1000  [\d,.]+ samples/s  data wait \d+%  0:0\d left"
    assert re.search(rf"training \d+/40  {facts}", shown.out)
    assert len([line for line in lines if re.match(r"step \d+  epoch .*val/loss", line)]) == 8
    widths = {
        len(line) - len(re.sub(r"^\S+( \S+)? {2,}", "", line))
        for line in lines
        if re.match(r"(val/loss|time|report) ", line)
    }
    assert len(widths) == 1
    assert lines[-1].split(maxsplit=2)[:2] == ["run", "directory"]
    assert any(line.startswith("pictures ") and "curves.png" in line for line in lines)
    assert not any("Tip" in line or "GPU available" in line or "max_steps" in line for line in lines)

    summary = json.loads(run.summary.read_text())
    assert summary["status"] == "finished"
    assert summary["steps"] == 40
    assert summary["epochs"] == 8.0
    assert summary["parameters"] == {"total": 51, "trainable": 51}
    assert summary["command"] == "triptych train api_key=***"
    assert summary["seed"] == 7
    assert summary["forward_flops_per_sample"] == 2 * 16 * 3
    assert summary["mfu"] is None
    assert summary["samples_per_second"] > 0
    assert summary["peak_memory_bytes"]["process"] > 1e7
    assert set(summary["versions"]) >= {"triptych", "python", "torch", "lightning", "torchvision", "timm"}
    assert set(summary["metrics"]) >= {"train/loss", "val/loss"}
    assert summary["metrics"]["val/loss"] == pytest.approx(read_metrics(run.metrics).last("val/loss"))
    assert {"started", "ended", "wall_seconds", "git", "device", "precision"} <= set(summary)
    assert summary["device"]["threads"] >= 1
    assert run.report.exists()


@pytest.mark.parametrize("log_every", [1, 3])
def test_a_failure_and_a_resume_leave_the_same_trace(toy: ModuleType, tmp_path: Path, log_every: int) -> None:
    whole, broken = new_run(tmp_path), new_run(tmp_path)
    toy.fit(whole, 15, log_every=log_every)
    for fail_at in (6, 11):
        with pytest.raises(RuntimeError, match="on fire"):
            toy.fit(broken, 15, log_every=log_every, fail_at=fail_at)
        summary = json.loads(broken.summary.read_text())
        assert summary["status"] == "failed"
        assert "on fire" in summary["reason"]
    toy.fit(broken, 15, log_every=log_every)
    assert broken.metrics.read_bytes() == whole.metrics.read_bytes()
    steps = read_metrics(whole.metrics).series("train/loss")[0]
    assert steps == list(range(log_every, 16, log_every))
    assert read_metrics(whole.metrics).series("val/loss")[0] == [5, 10, 15]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGINT, 130)], ids=str
)
def test_a_signal_saves_once_and_the_trace_goes_on(tmp_path: Path, number: int, code: int) -> None:
    run = new_run(tmp_path)
    process = start(run, steps=15, nap=0.3)
    await_line(process, "at step 5")
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, out + err
    assert err == ""
    saved = run.last_checkpoint()
    step = int(saved.name[5:12])
    assert 5 <= step < 15
    summary = json.loads(run.summary.read_text())
    assert summary["status"] == f"stopped by {signal.Signals(number).name}"
    assert summary["steps"] == step == read_metrics(run.metrics).rows[-1]["step"]


@pytest.mark.slow
def test_the_trace_after_sigterm_equals_an_uninterrupted_one(toy: ModuleType, tmp_path: Path) -> None:
    run, whole = new_run(tmp_path), new_run(tmp_path)
    process = start(run, steps=15, nap=0.3)
    await_line(process, "at step 5")  # a validation is due at this step, so the save comes before it
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143
    toy.fit(run, 15)
    toy.fit(whole, 15)
    assert run.metrics.read_bytes() == whole.metrics.read_bytes()


@pytest.mark.slow
def test_a_second_interrupt_leaves_at_once(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    process = start(run, steps=3, nap=60)
    await_line(process, "at step 1")
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert time.monotonic() - begun < 20
    assert process.returncode == -signal.SIGINT  # which a shell reports as 130


def start(run: RunDirectory, steps: int, nap: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", str(SCRIPT), str(run.path), str(steps), str(nap)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})


def await_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"the process ended without {text!r}")
