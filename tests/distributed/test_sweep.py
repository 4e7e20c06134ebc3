"""Runs of a sweep that several processes train: each has a directory of its own, and nothing outlives the sweep."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from triptych.rundir.vitals import read_vitals

from .commands import Command
from .toy_runs import trace

pytestmark = pytest.mark.slow


@pytest.fixture
def sweep(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Command]:
    """Of runs with so many steps."""
    program = [sys.executable, "-m", "triptych", "train", "-m", "seed=1,2", "trainer=ddp", "trainer.devices=2"]
    started = Command(tmp_path, program, [f"trainer.max_steps={request.param}"])
    yield started
    started.kill()


def seeds(sweep: Command, status: str) -> list[int]:
    """Of the runs that ended so."""
    told = [json.loads(path.read_text()) for path in sorted(sweep.runs.glob("*/summary.json"))]
    return [each["seed"] for each in told if each["status"] == status]


@pytest.mark.parametrize("sweep", [10], indirect=True)
def test_each_job_finishes_in_its_own_directory(sweep: Command) -> None:
    code, printed = sweep.wait()
    assert code == 0, printed
    assert sweep.survivors() == []
    assert seeds(sweep, "finished") == [1, 2]
    losses = [trace(run)["train/loss"] for run in sorted(sweep.runs.iterdir())]
    assert [len(each) for each in losses] == [10, 10]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("sweep", [400], indirect=True)
def test_a_job_that_fails_leaves_the_next_its_turn_and_a_stop_ends_all(sweep: Command) -> None:
    os.kill(read_vitals(sweep.until_saved(0))[1].pid, signal.SIGKILL)
    sweep.until_saved(1)
    sweep.process.send_signal(signal.SIGTERM)
    code, printed = sweep.wait()
    assert "was killed by SIGKILL" in printed
    assert code == 143, printed
    assert seeds(sweep, "stopped by SIGTERM") == [2]
    assert len(list(sweep.runs.iterdir())) == 2
    assert sweep.survivors() == []


@pytest.mark.parametrize("sweep", [400], indirect=True)
def test_nothing_outlives_a_sweep_that_is_killed(sweep: Command) -> None:
    first = sweep.until_saved(0)
    sweep.process.kill()
    assert sweep.wait()[0] == -signal.SIGKILL
    assert sweep.survivors(patience=10) == []
    assert list(sweep.runs.iterdir()) == [first]
