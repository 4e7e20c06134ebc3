"""Run directories: `outputs/TASK/NAME/DATE_TIME/`."""

import difflib
import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from triptych.checkpoints.find import DISTRIBUTED, FOLDER, distributed, find_checkpoint, is_checkpoint, step_folders
from triptych.errors import UserError
from triptych.rundir.files import write_atomic

_SUGGESTIONS = 3


@dataclass(frozen=True)
class RunDirectory:
    """The paths of one run. Make one with `create` (a new run) or `open` (go on with an old one)."""

    path: Path
    chosen: Path | None = None
    """The checkpoint to go on from where the user named one; None for the last one."""
    made: tuple[Path, ...] = field(default=(), compare=False)
    """Folders above it that were made for it, the nearest first."""

    @classmethod
    def create(
        cls,
        base: Path | str,
        task: str,
        name: str,
        now: datetime | None = None,
        folders: Sequence[str] = (FOLDER, "plots"),
    ) -> "RunDirectory":
        """Make `base/task/name/DATE_TIME/`; two jobs that start in the same second each get their own.

        Args:
            base: folder of all runs, usually `outputs`.
            task: the task's name, one path component.
            name: the run's name, one path component.
            now: time of the start; the present if not given.
            folders: made inside it.

        Raises:
            UserError: a name is no single path component, or the folder cannot be made.
        """
        for what, value in (("task", task), ("run name", name)):
            if not value.strip() or value in (".", "..") or "/" in value or not value.isprintable():
                raise UserError(
                    f"The {what} {value!r} cannot name a folder. Use letters, digits, '-', '_', '.'; no '/' in it."
                )
        parent = Path(base) / task / name
        stamp = (now or datetime.now()).strftime("%Y-%m-%d_%H-%M-%S")
        made = tuple(folder for folder in (parent, *parent.parents) if not folder.exists())
        try:
            parent.mkdir(parents=True, exist_ok=True)
            path = _make_unique(parent, stamp)
            for folder in folders:
                (path / folder).mkdir()
        except OSError as error:
            raise UserError(
                f"No run directory can be made in '{parent}': {error.strerror}. "
                "Choose another place for the runs, or free this one."
            ) from error
        return cls(path, made=made)

    @classmethod
    def open(cls, path: Path | str) -> "RunDirectory":
        """The run directory at `path`, or that a checkpoint at `path` lies in, to go on with it.

        Raises:
            UserError: there is none; the message says what is missing and names the nearest ones.
        """
        path = Path(path)
        if not path.exists():
            raise UserError(f"There is no run directory '{path}'." + _suggest(path))
        if not path.is_dir():
            raise UserError(f"'{path}' is a file, not a run directory." + _suggest(path))
        if is_checkpoint(path) and path.absolute().parent.name == FOLDER:
            run = path.absolute().parents[1]
            if (run / "config.yaml").is_file():
                return cls(run, chosen=path)
        if (path / DISTRIBUTED).exists():
            raise UserError(f"'{path}' is a checkpoint of torch.distributed.checkpoint. {distributed(path)}")
        if not (path / "config.yaml").is_file():
            raise UserError(f"'{path}' is not a run directory: it has no config.yaml." + _suggest(path))
        return cls(path)

    @classmethod
    def holding(cls, path: Path) -> "RunDirectory | None":
        """The run directory that `path` is, or lies in as a checkpoint; None where no run made it."""
        inside = path.name == FOLDER or is_checkpoint(path)
        for each in path.absolute().parents[:2] if inside else (path,):
            if (each / FOLDER).is_dir() and (each / "config.yaml").is_file():
                return cls(each)
        return None

    def check_inside(self) -> None:
        """Before something is written there: nothing in the run directory leads out of it, nor waits for a reader.

        Raises:
            UserError: a link that leads out of it, or something that is neither file, folder nor link.
        """
        home = self.path.resolve()
        for place, folders, files in os.walk(home):
            for path in (Path(place) / name for name in (*folders, *files)):
                mode = path.lstat().st_mode
                if stat.S_ISLNK(mode) and not path.resolve().is_relative_to(home):
                    raise UserError(
                        f"{path} is a link to {path.resolve()}, out of the run directory, and a resume would write "
                        "there: put what it points at in its place"
                    )
                if not (stat.S_ISLNK(mode) or stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                    raise UserError(f"{path} is no plain file, and a resume could write to it for ever: remove it")

    def discard(self) -> None:
        """Take away the directory of a run that never began, and the folders above it that were made for it."""
        shutil.rmtree(self.path)
        for folder in self.made:
            if any(folder.iterdir()):
                break
            folder.rmdir()

    @property
    def config(self) -> Path:
        """The resolved config, as YAML."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """Every logged step, as CSV."""
        return self.path / "metrics.csv"

    @property
    def summary(self) -> Path:
        """What came out of the run, as JSON."""
        return self.path / "summary.json"

    @property
    def classes(self) -> Path:
        """How well each class was told in the last validation, as CSV."""
        return self.path / "classes.csv"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints, with `last` and `best`."""
        return self.path / "checkpoints"

    @property
    def plots(self) -> Path:
        """Folder of the pictures."""
        return self.path / "plots"

    @property
    def log(self) -> Path:
        """Everything that was reported, with times."""
        return self.path / "run.log"

    def log_of(self, rank: int) -> Path:
        """What one of several processes reported that is not the first."""
        return self.path / "logs" / f"rank_{rank:05d}.log"

    @property
    def report(self) -> Path:
        """One page with the pictures, the numbers and the config."""
        return self.path / "report.html"

    @property
    def is_told(self) -> bool:
        """Whether the report, which a run writes last, is newer than the newest save."""
        try:
            saved = max(folder.stat().st_mtime for folder in step_folders(self.checkpoints))
            return self.report.stat().st_mtime >= saved
        except (OSError, ValueError):
            return False

    def last_checkpoint(self) -> Path:
        """The verified step folder to go on from.

        Raises:
            UserError: there is none yet, or it is damaged.
        """
        if self.chosen is not None:
            return find_checkpoint(self.chosen)
        if not step_folders(self.checkpoints):
            raise UserError(
                f"'{self.path}' has no checkpoint to go on from: the run ended before its first one. "
                "Start it again without resume."
            )
        return find_checkpoint(self.path)

    def write_config(self, text: str) -> None:
        """Write `config.yaml` whole. The caller masks secrets (`Masking.tree`) before it writes the YAML."""
        write_atomic(self.config, text)


def _make_unique(parent: Path, stamp: str) -> Path:
    """Make `parent/stamp`, or with _2, _3, ... after it: mkdir either makes a folder or says that it is taken."""
    number = 1
    while True:
        path = parent / (stamp if number == 1 else f"{stamp}_{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def _suggest(path: Path) -> str:
    """The nearest run directories to a path that is none, newest first."""
    for above in path.resolve().parents:
        if (above / "config.yaml").is_file():
            return f" It lies in one: give '{above}'."
    if path.is_dir():
        found = sorted(file.parent for depth in ("*", "*/*", "*/*/*") for file in path.glob(f"{depth}/config.yaml"))
        if found:
            newest = ", ".join(
                f"'{each}'" for each in sorted(found, key=lambda each: each.name)[: -_SUGGESTIONS - 1 : -1]
            )
            return f" Run directories below it: {newest}."
        return " A run directory holds config.yaml, metrics.csv and checkpoints/."
    # The deepest part of the path that exists tells where the slip is.
    missing, parent = path, path.parent
    while not parent.is_dir() and parent != parent.parent:
        missing, parent = parent, parent.parent
    siblings = [each.name for each in parent.iterdir() if each.is_dir()] if parent.is_dir() else []
    near = difflib.get_close_matches(missing.name, siblings, n=_SUGGESTIONS, cutoff=0.5)
    if near:
        return " Did you mean " + " or ".join(f"'{parent / each}'" for each in near) + "?"
    if siblings:
        return f" In '{parent}' there are: " + ", ".join(sorted(siblings)[-_SUGGESTIONS:]) + "."
    return f" '{parent}' holds no folders."
