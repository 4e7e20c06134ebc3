"""`triptych doctor`: looks at all data of a configuration, tells what is wrong, and leaves a page about it."""

import os
import sys
import time
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from triptych.build import RUN_PACKAGES, build
from triptych.data.files import require_folder
from triptych.data.module import with_root
from triptych.data.source import Source
from triptych.doctor import balance, pixels, twins
from triptych.doctor.crowd import Split, examine
from triptych.doctor.findings import Finding, by_weight, count_of
from triptych.doctor.outputs import Diagnosis, show, write
from triptych.doctor.tree import inspect_tree, listings
from triptych.errors import UserError
from triptych.rundir import Masking, RunDirectory, RunLog, console
from triptych.rundir.terminal import is_live

FAULTY = 4
"""Exit code where errors were found; 0 where there are warnings and notes at most."""

_FOLDER = "triptych.data.folder.FolderSource"


def check(config: DictConfig) -> int:
    """Checks the data that `config` (the schema's `Doctor`) names; the exit code.

    Raises:
        UserError: the data are not where the configuration says, or are not of its kind.
    """
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    run = RunDirectory.create(config.output, config.task, config.name, folders=("plots",))
    masking = Masking()
    with RunLog(run.log, masking):
        try:
            diagnosis = diagnose(settings)
        except UserError:
            run.discard()
            raise
        plain = yaml.safe_dump(masking.tree(settings), sort_keys=False, allow_unicode=True)
        run.write_config(plain)
        write(diagnosis, run, plain, masking.text(" ".join(["triptych", *sys.argv])))
        show(diagnosis, run)
    return FAULTY if count_of(diagnosis.findings, "error") else 0


def diagnose(settings: dict[str, Any]) -> Diagnosis:
    """Looks at all data that resolved, plain settings name.

    Raises:
        UserError: the data are not where the settings say, or are not of their kind.
    """
    began = time.monotonic()
    parts, findings = _parts(settings)
    splits = _examined(parts, settings["processes"] or os.cpu_count() or 1)
    return Diagnosis(settings["name"], splits, by_weight([*findings, *_all(splits)]), time.monotonic() - began)


def _all(splits: list[Split]) -> list[Finding]:
    return [
        *pixels.unreadable(splits),
        *balance.classes(splits),
        *twins.duplicates(splits),
        *twins.near_leaks(splits),
        *pixels.surprises(splits),
        *pixels.sizes(splits),
    ]


def _parts(settings: dict[str, Any]) -> tuple[dict[str, Source], list[Finding]]:
    """The splits by name, that for training first, and what the layout of an image folder has wrong."""
    data = settings["data"]
    chosen = {"train": data["train"], **data["validation"]}
    allow = (*RUN_PACKAGES, *settings["allow_targets"])
    parts: dict[str, Source] = {}
    for name, part in chosen.items():
        if part["_target_"] != _FOLDER:
            parts[name] = with_root(data["root"], build(part, allow))()
    folder = next((part for part in chosen.values() if part["_target_"] == _FOLDER), None)
    if folder is None:
        return parts, []
    if data["root"] is None:
        raise UserError("data.root is not set: give the folder of the data, data.root=FOLDER")
    root = require_folder(data["root"], "image folder")
    # All of its splits: a test set beside them must not share images with training either.
    return {**listings(root, folder["validation_fraction"]), **parts}, inspect_tree(root)


def _examined(parts: dict[str, Source], processes: int) -> list[Split]:
    screen = console()
    columns = (TextColumn("looking at images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not is_live(screen)) as bar:
        task = bar.add_task("", total=sum(map(len, parts.values())))
        return examine(parts, processes, lambda count: bar.advance(task, count))
