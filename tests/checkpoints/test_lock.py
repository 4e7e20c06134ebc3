import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from triptych.checkpoints.lock import RunLock
from triptych.errors import UserError

HOLD = (
    "import sys; from triptych.checkpoints.lock import RunLock\n"
    "with RunLock(sys.argv[1]): print(1, flush=True); input()"
)


def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "run"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"1\n"
    with (
        pytest.raises(UserError, match=rf"run is in use by another run \(process {other.pid} on "),
        RunLock(tmp_path / "run"),
    ):
        pass
    other.kill()
    other.communicate()
    with RunLock(tmp_path / "run"):  # a killed run leaves no lock behind
        pass


def test_the_lock_ends_with_its_block(tmp_path: Path) -> None:
    with RunLock(tmp_path), pytest.raises(UserError, match=f"process {os.getpid()}"), RunLock(tmp_path):
        pass
    with RunLock(tmp_path):
        pass


def test_a_forked_worker_that_outlives_its_run_does_not_hold_the_lock(tmp_path: Path) -> None:
    script = (
        "import os, sys, time; from triptych.checkpoints.lock import RunLock\n"
        "with RunLock(sys.argv[1]):\n"
        "    child = os.fork()\n"
        "    if child == 0: time.sleep(60)\n"
        "    print(child, flush=True); os._exit(0)"
    )

    run = subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    child = int(run.stdout.readline())
    try:
        run.wait(30)
        time.sleep(0.05)
        with RunLock(tmp_path):
            pass
    finally:
        os.kill(child, 9)
        run.stdout.close()


def test_the_lock_is_never_taken_through_a_link(tmp_path: Path) -> None:
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"), RunLock(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()
