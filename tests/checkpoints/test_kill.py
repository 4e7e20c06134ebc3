"""SIGKILL at every call that a save makes: what was acknowledged can always be read."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from lightning.pytorch import LightningModule, Trainer

from triptych.callbacks.checkpointing import Checkpointing
from triptych.checkpoints.find import find_checkpoint, read_link
from triptych.checkpoints.format import read_checkpoint
from triptych.checkpoints.manifest import verify
from triptych.errors import UserError

SAVER = Path(__file__).with_name("saver.py")
STEPS = 3
Same = Callable[[Any, Any], bool]


@pytest.fixture(scope="module")
def saver() -> ModuleType:
    spec = importlib.util.spec_from_file_location("saver", SAVER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def environment() -> dict[str, str]:
    # No byte-code: writing it renames too.
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": ""}


def check_run(run: Path, saver: ModuleType, same: Same) -> int:
    """What every kill must leave; returns the step that a resume would go on from."""
    store = run / "checkpoints"
    acknowledged = (
        [int(line) for line in (run / "acknowledged").read_text().split()] if (run / "acknowledged").exists() else [0]
    )
    promised = max(acknowledged, default=0)
    try:
        found = find_checkpoint(run)
    except UserError:
        assert promised == 0
        return 0
    step = read_checkpoint(found)["global_step"]
    assert step >= promised
    assert same(saver.content(step), read_checkpoint(found))
    best = read_link(store / "best")
    if promised >= 2:
        assert best is not None
        verify(best)
        assert read_checkpoint(best)["global_step"] in (promised - promised % 2, promised + 1)
    for entry in store.iterdir():
        if entry.name.startswith("step_"):
            verify(entry)  # no half that looks whole, retention included
    # The next start removes what was left, and nothing else.
    kept = {entry.name for entry in store.iterdir() if not entry.name.startswith(".tmp-")}
    trainer = cast(Trainer, SimpleNamespace(is_global_zero=True))
    Checkpointing(folder=store).setup(trainer, cast(LightningModule, None), "fit")
    assert {entry.name for entry in store.iterdir()} == kept
    assert find_checkpoint(run) == found
    return step


CALLS = ("rename", "replace", "symlink", "fsync", "rmdir", "unlink", "write")


@pytest.fixture(scope="module")
def killed_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("killed")
    command = [sys.executable, str(SAVER), str(place), str(STEPS), *CALLS]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return place


@pytest.mark.parametrize("call", CALLS)
def test_a_kill_before_any_call_of_a_save(killed_runs: Path, saver: ModuleType, same: Same, call: str) -> None:
    steps = [check_run(run, saver, same) for run in sorted((killed_runs / call).iterdir())]
    assert steps[-1] == STEPS
    assert steps == sorted(steps)
    assert len(steps) - 1 >= {"rmdir": 1, "unlink": 5, "fsync": 25, "write": 15}.get(call, STEPS)


def traced(run: Path, call: str, action: str) -> subprocess.CompletedProcess[str]:
    run.mkdir(parents=True)
    command = ["strace", "-f", "-qq", "-o", str(run / "trace"), "-e", f"trace={call}", "-e", f"inject={call}:{action}"]
    return subprocess.run(
        [*command, sys.executable, str(SAVER), str(run), str(STEPS)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def strace(tmp_path_factory: pytest.TempPathFactory) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    if subprocess.run(["strace", "-qq", "-e", "trace=none", "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here (ptrace is not permitted)")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("call", ["rename", "renameat", "renameat2", "symlink", "symlinkat", "fsync", "mkdir", "rmdir"])
def test_a_kill_inside_any_system_call_of_a_save(
    tmp_path: Path, saver: ModuleType, same: Same, strace: None, call: str
) -> None:
    number, killed = 0, True
    while killed:
        number += 1
        run = tmp_path / f"{call}_{number:04d}"
        result = traced(run, call, f"signal=KILL:when={number}")
        killed = result.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
        assert killed or result.returncode == 0, result.stderr
        check_run(run, saver, same)
    assert check_run(tmp_path / f"{call}_{number:04d}", saver, same) == STEPS


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_io_error_ends_the_run_and_leaves_its_checkpoints(
    tmp_path: Path, saver: ModuleType, same: Same, strace: None
) -> None:
    whole = traced(tmp_path / "whole", "fsync", "delay_exit=0")
    assert whole.returncode == 0, whole.stderr
    calls = len((tmp_path / "whole" / "trace").read_text().splitlines())
    assert calls > 20
    for number in range(1, calls + 1, 3):
        run = tmp_path / f"error_{number:04d}"
        result = traced(run, "fsync", f"error=EIO:when={number}")
        assert result.returncode != 0
        assert "Input/output error" in result.stderr
        check_run(run, saver, same)
        if (run / "checkpoints" / "last").exists():
            assert "The last checkpoint is whole" in result.stderr
