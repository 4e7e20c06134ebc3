"""Which checkpoint a path means: a step folder, a `last` or `best` link, or a whole run directory."""

import logging
import os
import re
from pathlib import Path

from triptych.checkpoints.manifest import MANIFEST, verify
from triptych.errors import UserError

log = logging.getLogger(__name__)

FOLDER = "checkpoints"
LAST = "last"
BEST = "best"
STEP_NAME = re.compile(r"step_(\d+)(?:\.(\d+))?")


DISTRIBUTED = ".metadata"
"""The pickle by which a folder of torch.distributed.checkpoint is known."""


def distributed(path: Path) -> str:
    """What to do with a folder of torch.distributed.checkpoint."""
    return (
        f"Its {DISTRIBUTED} is a pickle, which is never opened; convert it where you trust it: python -m "
        f"torch.distributed.checkpoint.format_utils dcp_to_torch {path} NEW.pt"
    )


def step_name(step: int, serial: int = 1) -> str:
    """`step_0000123`; a second save of the same step is `step_0000123.2`, since nothing is overwritten."""
    return f"step_{step:07d}" + (f".{serial}" if serial > 1 else "")


def step_folders(folder: Path) -> list[Path]:
    """The step folders in `folder`, oldest step first; links and other names are none of ours."""
    found = []
    for entry in folder.iterdir() if folder.is_dir() else ():
        match = STEP_NAME.fullmatch(entry.name)
        if match and entry.is_dir() and not entry.is_symlink():
            found.append((int(match[1]), int(match[2] or 1), entry))
    return [entry for _, _, entry in sorted(found)]


def read_link(link: Path) -> Path | None:
    """The step folder that `last` or `best` points at; None where there is no such link.

    Raises:
        UserError: the link leads out of its own folder, or to nothing.
    """
    if not link.is_symlink():
        return link if link.is_dir() else None
    target = os.readlink(link)
    if not STEP_NAME.fullmatch(target):
        raise UserError(f"{link} points at {target!r}; it may only point at a step folder beside it")
    step = link.parent / target
    if step.is_symlink() or not step.is_dir():
        raise UserError(f"{link} points at {target}, which is not there. {_way_out(link.parent, step)}")
    return step


def is_checkpoint(path: Path) -> bool:
    """Whether `path` is one folder of our format (a link to one counts)."""
    return (path / MANIFEST).is_file()


def is_run(path: Path) -> bool:
    """Whether `path` is a run directory or its `checkpoints` folder, with at least one checkpoint in it."""
    return _store(path) is not None


def find_checkpoint(path: Path, prefer: tuple[str, ...] = (LAST,)) -> Path:
    """The verified step folder that `path` means.

    A damaged `last` is an error that names the newest whole checkpoint, and not a silent step back: a run that
    resumed from an older state without being told to would lie. Only where no link was ever published does the newest
    whole folder count, with a warning.

    Args:
        path: a step folder, a `last` or `best` link, a run directory or its `checkpoints` folder.
        prefer: the links to try in a run directory, in this order.

    Raises:
        UserError: nothing there, or what is there is damaged.
    """
    if path.is_symlink() and path.name in (LAST, BEST):
        linked = read_link(path)
        return _verified(linked) if linked else _verified(path)
    if is_checkpoint(path):
        return _verified(path)
    store = _store(path)
    if store is None and (path / DISTRIBUTED).exists():
        raise UserError(f"{path} is a checkpoint of torch.distributed.checkpoint. {distributed(path)}")
    if store is None:
        raise UserError(
            f"{path} holds no checkpoint: expected a run directory (with {FOLDER}/{LAST}), "
            f"a {FOLDER} folder or a step folder"
        )
    for name in prefer:
        linked = read_link(store / name)
        if linked is not None:
            return _verified(linked)
    newest = newest_whole(store)
    if newest is None:
        raise UserError(f"{store} has no {' or '.join(prefer)} and no whole step folder: no save there ever finished")
    log.warning("%s has no %s; the newest whole checkpoint is %s", store, " or ".join(prefer), newest.name)
    return newest


def newest_whole(store: Path, other_than: Path | None = None) -> Path | None:
    """The newest step folder in `store` that verifies."""
    for folder in reversed(step_folders(store)):
        if folder != other_than and _is_whole(folder):
            return folder
    return None


def _is_whole(folder: Path) -> bool:
    try:
        verify(folder)
    except UserError:
        return False
    return True


def _verified(folder: Path) -> Path:
    try:
        verify(folder)
    except UserError as error:
        raise type(error)(f"{error}. {_way_out(folder.parent, folder)}") from error
    return folder


def _way_out(store: Path, damaged: Path) -> str:
    other = newest_whole(store, other_than=damaged)
    if other is None:
        return f"There is no other whole checkpoint in {store}"
    return f"The newest other whole checkpoint is {other}: name it to go on from there"


def _store(path: Path) -> Path | None:
    """The folder that holds the step folders, if `path` is a run directory or that folder."""
    store = path / FOLDER
    if store.is_symlink() and not store.resolve().is_relative_to(path.resolve()):
        raise UserError(
            f"{store} is a link to {store.resolve()}, out of the run directory; name that folder itself if you mean it"
        )
    for folder in (store, path):
        if folder.is_dir() and ((folder / LAST).is_symlink() or (folder / BEST).is_symlink() or step_folders(folder)):
            return folder
    return None
