"""Commands as a user starts them, with whatever processes they start, none of which is to be left."""

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from triptych.rundir.vitals import read_vitals

from .toy_runs import KINDS, LOOP, make_data


class Command:
    """A command that trains on images, and all that descends from it.

    Args:
        folder: where it works.
        program: what is started, such as `python -m triptych train`.
        words: beside those of every toy run.
    """

    def __init__(self, folder: Path, program: Sequence[str], words: Sequence[str]) -> None:
        data = make_data(folder / "data")
        self.runs = folder / "out" / "train" / "images"
        self._mark = uuid.uuid4().hex
        toy = [word.format(root=data) for word in [*KINDS["images"], *LOOP]]
        more = ["name=images", f"output={folder / 'out'}", "checkpoint.every_steps=2", "data.workers=1"]
        self.process = subprocess.Popen(
            [*program, *toy, *more, *words], cwd=folder, env={**os.environ, "TRIPTYCH_TEST": self._mark}, text=True,
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
