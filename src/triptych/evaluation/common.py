"""What every evaluation does around its numbers: processes, progress, names, times."""

import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.text import Text

from triptych.analysis import machine
from triptych.analysis.results import ImageOf
from triptych.analysis.roads import roads
from triptych.callbacks.display import Status, display
from triptych.data.source import Source
from triptych.errors import UserError
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.preprocess import Preprocess
from triptych.parallel.launch import launch, launched
from triptych.parallel.ranks import Ranks, joined
from triptych.rundir import Masking, RunDirectory, console

Settings = dict[str, Any]


def share(body: Callable[[Settings, Ranks], None], settings: Settings) -> int:
    """Runs `body` in as many processes as `settings["devices"]` says, or in those that a launcher started; the exit
    code. `body` is a function of a module, for new processes find it by its name.

    Raises:
        UserError: what `body` raises in the first process; both ways of sharing at once.
    """
    if settings["devices"] > 1:
        if launched():
            raise UserError(
                f"devices={settings['devices']}, but a launcher has started the processes already: leave devices out"
            )
        return launch(partial(_part, body), settings, settings["devices"])
    return _part(body, settings)


def _part(body: Callable[[Settings, Ranks], None], settings: Settings) -> int:
    """One process's part; the first one writes and speaks."""
    with joined() as ranks:
        threads = settings["device"]["threads"] or ranks.threads
        if threads:
            torch.set_num_threads(threads)
        try:
            body(settings, ranks)
        except UserError as error:
            if ranks.first:
                raise
            return error.exit_code
    return 0


class Circumstances:
    """When, where and by what command something was measured."""

    def __init__(self) -> None:
        self._begun, self._started = time.monotonic(), _now()

    def told(self, samples: int, device: torch.device, precision: str, ranks: Ranks, masking: Masking) -> Settings:
        """All of it, as plain data. `samples` were measured."""
        seconds = time.monotonic() - self._begun
        found = machine.device(device, ranks.world_size)
        return {
            "started": self._started,
            "ended": _now(),
            "wall_seconds": seconds,
            "samples_per_second": samples / seconds,
            "command": masking.text(" ".join(["triptych", *sys.argv])),
            "device": {"name": found.name, "count": found.count, "precision": precision},
            "versions": machine.versions(),
            "git": machine.git_state(Path.cwd()),
        }


class Progress:
    """Shows how far a set is, on the first process."""

    def __init__(self, label: str, speaks: bool) -> None:
        self._label, self._speaks = label, speaks

    def __enter__(self) -> Callable[[int, int], None] | None:
        self._display = display(console(), time.monotonic()) if self._speaks else None
        return self._show if self._display is not None else None

    def __exit__(self, *error: object) -> None:
        if self._display is not None:
            self._display.close()

    def _show(self, done: int, total: int) -> None:
        moment = time.monotonic()
        if self._display is not None and self._display.due(moment, done, None):
            self._display.show(Status(self._label, done, total), moment)


def image_of(source: Source, preprocess: Preprocess | AudioPreprocess) -> ImageOf:
    """The images of a data set by number, or pictures of its sounds, as they are drawn."""
    return roads(source, preprocess)[0]


def run_name(path: Path) -> str:
    """The name of the run that a checkpoint is from, else that of its folder."""
    run = RunDirectory.holding(path)
    folder = run.path.absolute().parent if run else path.absolute()
    return (folder if folder.is_dir() else folder.parent).name or "checkpoint"


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def data_config(data: Settings, preprocess: Preprocess | AudioPreprocess) -> Settings:
    """The settings of the data with the preprocessing that was used, without those that evaluation does not read."""
    if isinstance(preprocess, AudioPreprocess):
        used = data | {
            "front_end": preprocess.front_end.to_dict(), "max_seconds": preprocess.max_seconds,
        }  # fmt: skip
    else:
        used = data | {
            "image_size": list(preprocess.image_size), "mean": list(preprocess.mean), "std": list(preprocess.std),
        }  # fmt: skip
    for unused in ("augment", "evaluate", "cache", "seed", "max_bad_fraction", "samples", "distinct"):
        used.pop(unused, None)
    return used


def print_rows(rows: Sequence[tuple[str, str]]) -> None:
    """Prints names and texts in two columns."""
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        console().print(Text.assemble((f"{name:<{width}}  ", "bold"), text))
