"""The saves in a run's folder: their names, which of them stay, and where `last` and `best` lead."""

import os
from pathlib import Path

from triptych.checkpoints.files import publish_link, remove_folder
from triptych.checkpoints.find import BEST, LAST, STEP_NAME, step_folders, step_name
from triptych.checkpoints.manifest import verify


class Saves:
    """What this run knows of in its folder. A save is named before it is written, and published once it is durable.

    Args:
        folder: holds one folder for each save, and the links `last` and `best`.
        keep: how many of the newest stay; the best stays besides.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self.names: list[str] = []
        self.best: str | None = None

    def free_name(self, step: int) -> str:
        """A name for a save of `step` that no save has: a step may be saved before its validation and after."""
        serial = 1
        while (self.folder / step_name(step, serial)).exists():
            serial += 1
        return step_name(step, serial)

    def adopt(self, listed: list[str], step: int | None) -> None:
        """Take over the saves that a checkpoint of `step` knew of, as far as they lie here.

        A run that goes on from another's checkpoint never touches the other's. Saves that lead nowhere are taken over
        too, to go with the oldest: later than `step`, and unknown to its checkpoint. A crash between a save and its
        publication leaves such a one, or a user who goes on from an older save.
        """
        # Checkpoints may come from anybody, and what is listed is removed in time: other names could lead anywhere.
        steps = [name for name in listed if isinstance(name, str) and STEP_NAME.fullmatch(name)]
        known = [name for name in steps if (self.folder / name).is_dir()]
        abandoned: list[str] = []
        if step is not None and known:  # another run's checkpoint knows nothing of this folder
            later = step_name(step + 1)
            here = [found.name for found in step_folders(self.folder)]
            abandoned = [name for name in here if name >= later and name not in known]
        self.names = [*abandoned, *known]

    def publish(self, name: str) -> None:
        """Once the save `name` reads back, move `last` to it, `best` to the best, and remove what need not stay.

        Raises OSError, and DamagedError where the save does not read back; the links are then as before, and nothing is
        removed.
        """
        verify(self.folder / name)
        publish_link(self.folder / LAST, name)
        if self.best is not None and self.best != _target(self.folder / BEST):
            publish_link(self.folder / BEST, self.best)
        kept = {*self.names[-self.keep :], self.best, _target(self.folder / LAST), _target(self.folder / BEST)}
        doomed = [old for old in self.names if old not in kept]
        for old in doomed:
            if (self.folder / old).is_dir() and not (self.folder / old).is_symlink():
                remove_folder(self.folder / old)
            self.names.remove(old)


def _target(link: Path) -> str | None:
    return os.readlink(link) if link.is_symlink() else None
