"""torchrun starts all processes again after one was lost, and they go on with the run that they had begun."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from triptych.rundir.vitals import read_vitals

from .commands import Command
from .toy_runs import trace

pytestmark = pytest.mark.slow


def test_a_process_that_is_killed_once_costs_no_step(tmp_path: Path) -> None:
    launcher = ["--standalone", "--nproc-per-node=2", "--max-restarts=1", "-m", "triptych", "train"]
    job = Command(
        tmp_path,
        [sys.executable, "-m", "torch.distributed.run", *launcher],
        ["trainer=ddp", "trainer.max_steps=60", "trainer.timeout=20"],
    )
    try:
        first = job.until_saved(0)
        os.kill(read_vitals(first)[1].pid, signal.SIGKILL)
        code, printed = job.wait()
        assert code == 0, printed
        assert printed.count("this job was started before") == 1
        assert list(job.runs.iterdir()) == [first]
        assert json.loads((first / "summary.json").read_text())["status"] == "finished"
        assert trace(first)["step"] == sorted({*trace(first)["step"]})
        assert len(trace(first)["train/loss"]) == 60
        assert job.survivors(patience=5) == []
    finally:
        job.kill()
