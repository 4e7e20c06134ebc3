"""Runs of a sweep that several processes train: each has a directory of its own, and nothing outlives the sweep."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from triptych.rundir.vitals import read_vitals

from .toy_runs import KINDS, LOOP, make_data, trace

pytestmark = pytest.mark.slow


class Sweep:
    """`triptych train -m seed=1,2 trainer=ddp trainer.devices=2`, and all that descends from it."""

    def __init__(self, folder: Path, *words: str) -> None:
        data = make_data(folder / "data")
        self.runs = folder / "out" / "train" / "images"
        self._mark = uuid.uuid4().hex
        command = [
            sys.executable, "-m", "triptych", "train", "-m", "seed=1,2", "trainer=ddp", "trainer.devices=2",
            *(word.format(root=data) for word in [*KINDS["images"], *LOOP]), "name=images", f"output={folder / 'out'}",
            "checkpoint.every_steps=2", "data.workers=1", *words,
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, "TRIPTYCH_TEST": self._mark}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def wait(self) -> tuple[int, str]:
        """Its exit code and what it printed."""
        printed, _ = self.process.communicate(timeout=150)
        return self.process.returncode, printed

    def until_saved(self, number: int) -> Path:
        """The run of that number, once it has saved."""
        deadline = time.monotonic() + 120
        while not self._trains(found := sorted(self.runs.glob("*")), number):
            assert time.monotonic() < deadline
            assert self.process.poll() is None, self.wait()
            time.sleep(0.02)
        return found[number]

    def _trains(self, runs: list[Path], number: int) -> bool:
        if len(runs) <= number:
            return False
        return len(read_vitals(runs[number])) == 2 and any((runs[number] / "checkpoints").glob("step_*"))

    def survivors(self, patience: float = 0) -> list[str]:
        """Processes that still run with its mark in their environment."""
        deadline = time.monotonic() + patience
        while (found := list(self._alive())) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def kill(self) -> None:
        """Whatever is left."""
        for each in self._alive():
            os.kill(int(each.split()[0]), signal.SIGKILL)

    def _alive(self) -> Iterator[str]:
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (place / "environ").read_bytes():
                    yield f"{place.name} {(place / 'cmdline').read_bytes().decode()}"
            except OSError:
                continue


@pytest.fixture
def sweep(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Sweep]:
    """Of runs with so many steps."""
    started = Sweep(tmp_path, f"trainer.max_steps={request.param}")
    yield started
    started.kill()


def seeds(sweep: Sweep, status: str) -> list[int]:
    """Of the runs that ended so."""
    told = [json.loads(path.read_text()) for path in sorted(sweep.runs.glob("*/summary.json"))]
    return [each["seed"] for each in told if each["status"] == status]


@pytest.mark.parametrize("sweep", [10], indirect=True)
def test_each_job_finishes_in_its_own_directory(sweep: Sweep) -> None:
    code, printed = sweep.wait()
    assert code == 0, printed
    assert sweep.survivors() == []
    assert seeds(sweep, "finished") == [1, 2]
    losses = [trace(run)["train/loss"] for run in sorted(sweep.runs.iterdir())]
    assert [len(each) for each in losses] == [10, 10]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("sweep", [400], indirect=True)
def test_a_job_that_fails_leaves_the_next_its_turn_and_a_stop_ends_all(sweep: Sweep) -> None:
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
def test_nothing_outlives_a_sweep_that_is_killed(sweep: Sweep) -> None:
    first = sweep.until_saved(0)
    sweep.process.kill()
    assert sweep.wait()[0] == -signal.SIGKILL
    assert sweep.survivors(patience=10) == []
    assert list(sweep.runs.iterdir()) == [first]
