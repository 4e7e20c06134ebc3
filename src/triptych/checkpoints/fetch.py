"""A run directory from its copy in another storage: see `triptych.checkpoints.mirror`."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from triptych.checkpoints.files import new_folder
from triptych.checkpoints.find import BEST, FOLDER, LAST, STEP_NAME
from triptych.checkpoints.manifest import MANIFEST, read_manifest, verify
from triptych.checkpoints.mirror import LINKS, SMALL
from triptych.data.urls import open_url, reason_of
from triptych.errors import UserError

_MOST = 1 << 28
"""Bytes of a small file: the log and the metrics of a long run have some megabytes."""


def fetch(url: str, output: Path) -> Path:
    """The run directory that a copy at `url` becomes, `output/TASK/NAME/DATE_TIME`: all of it, or nothing.

    Saves are verified; no file is written that a run directory has not.

    Raises:
        UserError: there is no copy, the directory is there already, or what is fetched is damaged.
    """
    storage, root = open_url(url.rstrip("/"))
    parts = PurePosixPath(root).parts[-3:]
    if len(parts) < 3 or any(part in (".", "..") for part in parts):
        raise UserError(f"{url} is no run: expected .../TASK/NAME/DATE_TIME")
    links = _links(storage, root, url)
    final = output.joinpath(*parts)
    if final.exists():
        raise UserError(f"{final} is there already: go on with it (resume={final}), or name another output")
    final.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(final) as staging:
        store = staging / FOLDER
        store.mkdir()
        for step in dict.fromkeys(links.values()):
            (store / step).mkdir()
            _get(storage, f"{root}/{FOLDER}/{step}/{MANIFEST}", store / step / MANIFEST, url, _MOST)
            # The manifest knows the names of a save's files, and no others.
            for name, file in read_manifest(store / step).files.items():
                _get(storage, f"{root}/{FOLDER}/{step}/{name}", store / step / name, url, file.size)
            verify(store / step)
        for name, step in links.items():
            (store / name).symlink_to(step)
        for name in SMALL:
            if storage.exists(f"{root}/{name}"):
                _get(storage, f"{root}/{name}", staging / name, url, _MOST)
        if not (staging / SMALL[0]).is_file():
            raise UserError(f"{url} has no {SMALL[0]}: it is no copy of a run")
    return final


def _links(storage: Any, root: str, url: str) -> dict[str, str]:
    try:
        links = json.loads(storage.cat_file(f"{root}/{FOLDER}/{LINKS}"))
    except FileNotFoundError as error:
        raise UserError(
            f"there is no copy of a run at {url}: it has no {FOLDER}/{LINKS}. Give the URL that the run's log names"
        ) from error
    except ValueError as error:
        raise UserError(f"{url}/{FOLDER}/{LINKS} is damaged: {reason_of(error)}") from error
    except Exception as error:
        raise UserError(f"{url} cannot be reached: {reason_of(error)}") from error
    known = isinstance(links, dict) and LAST in links and links.keys() <= {LAST, BEST}
    if not known or not all(isinstance(step, str) and STEP_NAME.fullmatch(step) for step in links.values()):
        raise UserError(f"{url}/{FOLDER}/{LINKS} is damaged: it names {links}")
    return links


def _get(storage: Any, source: str, target: Path, url: str, most: int) -> None:
    try:
        size = storage.info(source)["size"]
        if size is not None and size > most:
            raise UserError(f"{source} of {url} has {size} bytes, at most {most} are expected: it is damaged")
        storage.get_file(source, str(target))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{source} of {url} cannot be fetched: {reason_of(error)}") from error
