"""SIGKILL at every call that a save makes: what was acknowledged can always be read."""

import importlib.util
import os
import shutil
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
from triptych.checkpoints.io import FolderCheckpointIO
from triptych.checkpoints.manifest import verify
from triptych.errors import UserError

pytestmark = pytest.mark.slow

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
    strategy = SimpleNamespace(checkpoint_io=FolderCheckpointIO())
    trainer = cast(Trainer, SimpleNamespace(is_global_zero=True, strategy=strategy))
    Checkpointing(folder=store).setup(trainer, cast(LightningModule, None), "fit")
    assert {entry.name for entry in store.iterdir()} == kept
    assert find_checkpoint(run) == found
    return step


def faulty_runs(place: Path, how: str, calls: tuple[str, ...]) -> Path:
    command = [sys.executable, str(SAVER), str(place), str(STEPS), how, *calls]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if "could not attach" in result.stderr:
        pytest.skip(f"strace may not trace here: {result.stderr.strip()}")
    assert result.returncode == 0, result.stderr
    return place


CALLS = ("rename", "replace", "symlink", "fsync", "rmdir", "unlink", "write")
SYSTEM_CALLS = (
    "rename",
    "renameat",
    "renameat2",
    "symlink",
    "symlinkat",
    "fsync",
    "fdatasync",
    "mkdir",
    "rmdir",
    "unlinkat",
    "write",
)
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@pytest.fixture(scope="module")
def patched_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faulty_runs(tmp_path_factory.mktemp("patched"), "patch", CALLS)


@pytest.mark.parametrize("call", CALLS)
def test_a_kill_before_any_call_of_a_save(patched_runs: Path, saver: ModuleType, same: Same, call: str) -> None:
    steps = [check_run(run, saver, same) for run in sorted((patched_runs / call).iterdir())]
    assert steps[-1] == STEPS
    assert steps == sorted(steps)
    assert len(steps) - 1 >= {"rmdir": 1, "unlink": 5, "fsync": 25, "write": 15}.get(call, STEPS)


@pytest.fixture(scope="module")
def traced_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faulty_runs(tmp_path_factory.mktemp("traced"), "strace-kill", SYSTEM_CALLS)


@needs_strace
@pytest.mark.parametrize("call", SYSTEM_CALLS)
def test_a_kill_inside_any_system_call_of_a_save(traced_runs: Path, saver: ModuleType, same: Same, call: str) -> None:
    steps = [check_run(run, saver, same) for run in sorted((traced_runs / call).iterdir())]
    assert steps[-1] == STEPS
    assert steps == sorted(steps)
    assert len(steps) - 1 >= {"fsync": 25, "write": 30, "rename": 6}.get(call, 0)


@needs_strace
def test_an_io_error_ends_the_run_and_leaves_its_checkpoints(tmp_path: Path, saver: ModuleType, same: Same) -> None:
    runs = sorted((faulty_runs(tmp_path, "strace-error", ("fsync",)) / "fsync").iterdir())
    assert len(runs) > 25
    for run in runs[:-1]:
        message = (run / "error").read_text()
        assert f"cannot save a checkpoint in {run / 'checkpoints'}: Input/output error" in message
        assert check_run(run, saver, same) == 0 or "The last checkpoint is whole" in message
    assert check_run(runs[-1], saver, same) == STEPS
