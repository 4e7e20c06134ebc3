"""A copy of a run's saves in another storage: the disk of a machine may go away with the machine.

At the URL lie `TASK/NAME/DATE_TIME/` with the small files of the run and `checkpoints/STEP/`, as in the run directory.
Object stores have no links and no renames: `checkpoints/links.json` says where `last` and `best` lead. It is written
when all files of a save are there, and nothing that it names is ever written to, so a save that a crash left half sent
is never what it names.
"""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from triptych.checkpoints.background import Background
from triptych.checkpoints.find import BEST, FOLDER, LAST, STEP_NAME, step_folders
from triptych.checkpoints.manifest import MANIFEST
from triptych.data.urls import open_url, reason_of
from triptych.errors import UserError

log = logging.getLogger(__name__)

LINKS = "links.json"
SMALL = ("config.yaml", "launch.json", "metrics.csv", "classes.csv", "summary.json", "run.log", "report.html")
"""Files of a run directory that are sent beside its saves; the first one makes it a run directory."""


class Mirror:
    """Sends each published save of a run, in a thread of its own, so that training does not wait for the network.

    Saves that are published while an older one is on its way are sent after it; where several wait, the newest is sent.
    What cannot be sent is told and tried again with the next save; `finish` raises it.

    Args:
        url: folder of all runs in the other storage.
        run: the run directory, `.../TASK/NAME/DATE_TIME`.

    Raises:
        UserError: no such storage.
    """

    def __init__(self, url: str, run: Path) -> None:
        self.url = "/".join([url.rstrip("/"), *run.absolute().parts[-3:]])
        self._run = run
        self._storage, self._root = open_url(self.url)
        self._background = Background(threaded=True)
        self._asked = 0
        self._failure: str | None = None

    def begin(self) -> None:
        """Sends the run's configuration, so that what is wrong with the storage shows before any work.

        Raises:
            UserError: it cannot be written to.
        """
        try:
            self._storage.makedirs(f"{self._root}/{FOLDER}", exist_ok=True)
            self._storage.put_file(str(self._run / SMALL[0]), f"{self._root}/{SMALL[0]}")
        except Exception as error:
            raise UserError(
                f"mirror={self.url} cannot be written to: {reason_of(error)}. Give another folder, or mirror=null"
            ) from error
        log.info("saves are copied to %s (get them back with `triptych fetch`)", self.url)

    def send(self) -> None:
        """What is in the run directory now, as soon as what is on its way has arrived."""
        self._asked += 1
        number = self._asked
        self._background.then(lambda: self._try(number))

    def finish(self) -> None:
        """Waits until all is sent.

        Raises:
            UserError: the newest save could not be sent.
        """
        self._background.wait()
        if self._failure is not None:
            self._background.then(lambda: self._try(self._asked))
            self._background.wait()
        if self._failure is not None:
            raise UserError(
                f"the copy of this run at {self.url} is not up to date: {self._failure}. The run itself is whole in "
                f"{self._run}: copy it by hand, or go on with it (resume={self._run}) when the storage is there again"
            )

    def _try(self, number: int) -> None:
        if number != self._asked:
            return  # a newer one waits
        try:
            self._send()
        except Exception as error:
            self._failure = reason_of(error)
            log.warning("%s: this save could not be sent, the next will try again (%s)", self.url, self._failure)
        else:
            self._failure = None

    def _send(self) -> None:
        folder = self._run / FOLDER
        links = {name: os.readlink(folder / name) for name in (LAST, BEST) if (folder / name).is_symlink()}
        for name in SMALL:
            if (self._run / name).is_file():
                self._storage.put_file(str(self._run / name), f"{self._root}/{name}")
        there = self._steps()
        for step in dict.fromkeys(links.values()):
            if step not in there or not self._whole(folder / step, step):
                self._send_step(folder / step)
        self._storage.pipe_file(f"{self._root}/{FOLDER}/{LINKS}", json.dumps(links).encode())
        kept = {*links.values(), *(found.name for found in step_folders(folder))}
        for step in there:
            if step not in kept:
                self._storage.rm(f"{self._root}/{FOLDER}/{step}", recursive=True)

    def _send_step(self, step: Path) -> None:
        """The manifest comes last; what arrived has the size that was sent."""
        self._storage.makedirs(f"{self._root}/{FOLDER}/{step.name}", exist_ok=True)
        for file in sorted(step.iterdir(), key=lambda file: file.name == MANIFEST):
            self._storage.put_file(str(file), f"{self._root}/{FOLDER}/{step.name}/{file.name}")
        if not self._whole(step, step.name):
            raise OSError(f"{step.name} has not arrived whole")

    def _whole(self, step: Path, name: str) -> bool:
        there = _sizes(self._storage, f"{self._root}/{FOLDER}/{name}")
        return there == {file.name: file.stat().st_size for file in step.iterdir()}

    def _steps(self) -> Sequence[str]:
        names = [entry.rstrip("/").rpartition("/")[2] for entry in _list(self._storage, f"{self._root}/{FOLDER}")]
        return sorted(name for name in names if STEP_NAME.fullmatch(name))


def _list(storage: Any, folder: str) -> list[str]:
    storage.invalidate_cache()
    try:
        return storage.ls(folder, detail=False)
    except FileNotFoundError:
        return []


def _sizes(storage: Any, folder: str) -> dict[str, int]:
    storage.invalidate_cache()
    try:
        entries = storage.ls(folder, detail=True)
    except FileNotFoundError:
        return {}
    return {entry["name"].rstrip("/").rpartition("/")[2]: entry["size"] for entry in entries if entry["type"] == "file"}
