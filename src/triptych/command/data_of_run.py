"""The data of a task that is given a checkpoint: without `data=...`, those of the run that the checkpoint is from."""

import dataclasses
from pathlib import Path

from omegaconf import DictConfig

from triptych.errors import UserError
from triptych.rundir import RunDirectory
from triptych.schema import saved
from triptych.schema.check import check
from triptych.schema.roots import ROOTS, shorthand

# What nothing would read, and why; keys that begin with one of these, too.
_FIXED = {
    "data.image_size": "the checkpoint brings its own preprocessing",
    "data.mean": "the checkpoint brings its own preprocessing",
    "data.std": "the checkpoint brings its own preprocessing",
    "data.front_end": "the checkpoint brings its own preprocessing",
    "data.max_seconds": "the checkpoint brings its own preprocessing",
    "data.max_batch_seconds": "nothing is trained",
    "data.evaluate": "the checkpoint brings its own preprocessing",
    "data.augment": "nothing is augmented",
    "data.cache": "every image is read once",
    "data.seed": "the samples keep their order",
    "data.samples": "every sample is seen once",
    "data.distinct": "every sample is seen once",
    "data.max_bad_fraction": "every image that cannot be read is left out, counted and named",
}


def measures(task: str) -> bool:
    """Whether a task is given both a checkpoint and data."""
    return bool(shorthand(task)) and any(item.name == "data" for item in dataclasses.fields(ROOTS[task]))


def unread(key: str) -> str | None:
    """Why evaluation does not read a setting or a group of `data`; None where it does."""
    key = key.replace("/", ".")
    return next((reason for fixed, reason in _FIXED.items() if key == fixed or key.startswith(f"{fixed}.")), None)


def set_aside(overrides: list[str]) -> tuple[list[str], list[str]]:
    """The overrides to compose, and those (`data.root=...`) that change the data of the checkpoint's run.

    Raises:
        UserError: an override of what evaluation does not read.
    """
    keys = [override.lstrip("+~").partition("=")[0].replace("/", ".") for override in overrides]
    for override, key in zip(overrides, keys, strict=True):
        if reason := unread(key):
            raise UserError(f"{override} has no place here: {reason}. Leave it out")
    if "data" in keys:
        return [item for item in overrides if item != "~experiment"], []
    changes = [override for override, key in zip(overrides, keys, strict=True) if key.startswith("data.")]
    return [override for override in overrides if override not in changes], changes


def fill(config: DictConfig, changes: list[str]) -> None:
    """Puts the data of the checkpoint's run, changed by `changes`, where the configuration names no data.

    A task that is asked about an image needs none.

    Raises:
        UserError: the checkpoint is no run's, or a change does not fit.
    """
    if "image" in config and config.image is not None:
        if config.data is not None or changes:
            given = changes[0] if changes else "data=..."
            raise UserError(f"image={config.image} and {given} ask about different images: leave one of them out")
        return
    if config.data is None:
        path = Path(config.checkpoint.path)
        run = RunDirectory.holding(path) if path.exists() else RunDirectory.open(path)
        if run is None:
            raise UserError(
                f"{path} is not in a run directory, so nothing tells its data: give data=... "
                "(`triptych ls data` lists the choices)"
            )
        whole = saved.read(run.config)
        whole.allow_targets = []  # the command's own are what counts
        saved.check_said_again(whole, run.config, changes)
        saved.change(whole, changes)
        check(whole)
        config.data = whole.data
    if "image_size" in config.data:
        # The model's size, which the checkpoint tells; there is no model in this configuration.
        config.data.image_size = None
