"""Which run directory belongs to a job that a launcher starts again: after a lost process, a pre-emption, a reboot."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from triptych.checkpoints.find import FOLDER, step_folders
from triptych.errors import UserError
from triptych.plain import read_json
from triptych.rundir.directory import RunDirectory
from triptych.rundir.files import write_atomic

FILE = "launch.json"
# Names of a job that stay the same when its launcher starts it again, in the order in which they count.
_NAMES = ("TRIPTYCH_LAUNCH", "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID")
# What torchrun calls a job that was given no name: it tells no two jobs apart.
_NAMELESS = ("", "none")


def launch_id(settings: Mapping[str, Any]) -> str | None:
    """A name for this job and configuration: the launcher's, and a digest of `settings`, of which one job may run
    several (a sweep, folds). None where no launcher named the job.
    """
    found = ((name, os.environ.get(name, "")) for name in _NAMES)
    named = next((f"{name}={value}" for name, value in found if value not in _NAMELESS), None)
    if named is None:
        return None
    if task := os.environ.get("SLURM_ARRAY_TASK_ID"):
        named += f".{task}"
    text = json.dumps(settings, sort_keys=True, default=str)
    return f"{named} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def note_launch(run: Path, name: str) -> None:
    """Leave the name in a run directory."""
    write_atomic(run / FILE, json.dumps({"launch": name}) + "\n")


def started_before(parent: Path, name: str) -> Path | None:
    """The newest unfinished run below `parent` of that name which has saved something."""
    for path in sorted(parent.glob(f"*/{FILE}"), reverse=True):
        try:
            told = read_json(path)
        except UserError:
            continue
        run = path.parent
        if isinstance(told, dict) and told.get("launch") == name and step_folders(run / FOLDER) and not _done(run):
            return run
    return None


def _done(run: Path) -> bool:
    try:
        summary = read_json(run / "summary.json")
    except UserError:
        return False
    return isinstance(summary, dict) and summary.get("status") == "finished" and RunDirectory(run).is_told
