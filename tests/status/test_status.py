"""What `triptych status` says of a run that goes on, ends, fails, or goes away."""

import json
import os
import time
from pathlib import Path

import pytest

from triptych.checkpoints.lock import RunLock
from triptych.command.start import start
from triptych.rundir.vitals import Vitals
from triptych.status.read import LATE, SILENT, judged, read_report
from triptych.status.run import processes


def vitals(rank: int, at: float, phase: str = "training", wait: float = 0.0, step: int = 40) -> Vitals:
    return Vitals(rank, os.uname().nodename, 1, at, phase, step, 100, 500.0, 0.5, 0.1, wait, 10**9)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory at step 40 of 100, saved at step 30."""
    (tmp_path / "config.yaml").write_text("name: x\n")
    (tmp_path / "metrics.csv").write_text("step,epoch,train/loss,val/loss\n39,1.9,0.5,\n40,2.0,0.25,0.75\n")
    saved = tmp_path / "checkpoints" / "step_0000030"
    saved.mkdir(parents=True)
    (saved / "manifest.json").write_text("{}")
    (tmp_path / "checkpoints" / "last").symlink_to("step_0000030")
    return tmp_path


def test_a_run_that_goes_on(run: Path) -> None:
    now = time.time()
    vitals(0, now - 1).write(run)
    vitals(1, now - 2).write(run)
    with RunLock(run / "checkpoints"):
        found = read_report(run, now)
    assert (found.state, found.step, found.total, found.epoch) == ("running", 40, 100, 2.0)
    assert found.metrics == {"train/loss": 0.25, "val/loss": 0.75}
    assert found.checkpoint is not None
    assert found.checkpoint[:2] == ("step_0000030", 30)
    assert found.remaining == pytest.approx(0.5 * 60)
    assert [each.vitals.rank for each in found.processes] == [0, 1]


def test_a_process_that_says_nothing_while_the_run_holds_its_lock(run: Path) -> None:
    now = time.time()
    vitals(0, now - SILENT - 1).write(run)
    with RunLock(run / "checkpoints"):
        found = read_report(run, now)
    assert found.state == "silent"
    assert found.processes[0].silent


def test_a_run_that_was_killed_leaves_no_lock(run: Path) -> None:
    vitals(0, time.time()).write(run)
    assert read_report(run).state == "ended without a word"


@pytest.mark.parametrize(
    ("status", "reason"), [("finished", None), ("stopped by SIGTERM", None), ("failed", "OSError")]
)
def test_a_run_that_said_how_it_ended(run: Path, status: str, reason: str | None) -> None:
    vitals(0, time.time(), phase=status).write(run)
    (run / "summary.json").write_text(json.dumps({"status": status, "reason": reason}))
    found = read_report(run)
    assert (found.state, found.reason, found.remaining) == (status, reason, None)


def test_who_waits_least_is_late() -> None:
    """The others wait for it at each step."""
    waits = [0.4, 0.42, 0.4 - LATE - 0.05, 0.41]
    found = judged([vitals(rank, 0, wait=wait) for rank, wait in enumerate(waits)], 0)
    assert [each.late for each in found] == [False, False, True, False]
    alone = judged([vitals(0, 0, wait=0.0)], 0)
    assert not alone[0].late


def test_of_very_many_processes_the_remarkable_ones_are_shown() -> None:
    waits = {500: 0.0}
    found = judged([vitals(rank, 0, wait=waits.get(rank, 0.5)) for rank in range(1000)], 1)
    rows = [text.plain for text in processes(found)]
    assert len(rows) < 25
    assert any(row.startswith("500 ") and row.endswith("late") for row in rows)
    assert rows[-1] == f"... and {1000 - (len(rows) - 2)} more, none of them late or silent"


def test_the_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vitals(0, time.time()).write(run)
    assert start("status", [str(run)]) == 0
    printed = capsys.readouterr().out
    assert "40 of 100 (40%)" in printed
    assert "ended without a word" in printed
    assert "step_0000030" in printed
    assert "10 steps ago" in printed
    assert start("status", [str(run), "json=true"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 40
    assert start("status", [str(run / "nothing")]) == 2
    assert "no run directory" in capsys.readouterr().err
