"""A job of SLURM that is told to stop before its time limit saves, is requeued, and goes on with its run."""

import os
import signal
import time
from pathlib import Path

import pytest

from triptych.command.start import start

from .slurm_cluster import Cluster
from .toy_runs import KINDS, LOOP, make_data, trace, train

pytestmark = pytest.mark.slow

MORE = ["optimizer=adamw", "optimizer.lr=0.001", "checkpoint.every_steps=2", "trainer.max_steps=40"]


def test_a_job_is_stopped_requeued_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data(tmp_path / "data")
    undisturbed = train("images", data, tmp_path / "whole", 2, *MORE, "data.workers=1")
    cluster = Cluster(tmp_path / "cluster")
    monkeypatch.chdir(tmp_path)
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    words = [word.format(root=data) for word in [*KINDS["images"], *LOOP]] + [*MORE, "data.workers=1", "name=images"]
    assert start("train", [*words, "trainer=ddp", "output=out", "launcher=slurm", "launcher.nodes=2"]) == 0

    job = cluster.run()
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("out/train/images/*/checkpoints/step_*")):
            assert time.monotonic() < deadline
            assert job.poll() is None, cluster.log.read_text()
            time.sleep(0.02)
        cluster.signal(signal.SIGUSR1)
        assert job.wait(60) == 143, cluster.log.read_text()
        printed = cluster.log.read_text()
        assert "stopped by SIGUSR1 at step" in printed
        assert "exit code 143: requeued, 1 of at most 20 times" in printed
        assert cluster.requeued
        job = cluster.run(restarts=1)
        assert job.wait(120) == 0, cluster.log.read_text()
    finally:
        for each in (job.pid, *cluster.tasks):
            if job.poll() is None:
                os.killpg(each, signal.SIGKILL)
    assert not cluster.requeued
    assert "this job was started before" in cluster.log.read_text()
    (run,) = (tmp_path / "out" / "train" / "images").iterdir()
    assert trace(run) == trace(undisturbed)
    assert all(not Path(f"/proc/{each}").exists() for each in cluster.tasks)
