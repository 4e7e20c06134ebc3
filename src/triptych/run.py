"""Builds a training run from its configuration, runs it, and leaves a run directory that tells what happened."""

import copy
import errno
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from torch import nn

from triptych.callbacks.signals import RunStopped
from triptych.checkpoints.files import free_bytes, megabytes
from triptych.checkpoints.find import step_folders
from triptych.checkpoints.format import last_whole
from triptych.checkpoints.lock import RunLock
from triptych.cross_validation import cross_validate, held_out
from triptych.data.folds import EACH
from triptych.errors import TrainingFault, UserError
from triptych.job import Job
from triptych.kinds import check_kinds
from triptych.parallel.launch import LOCAL, launched, shared
from triptych.parallel.mesh import backend_of
from triptych.parallel.ranks import Ranks, joined
from triptych.rundir import Masking, RunDirectory, RunLog
from triptych.rundir.launches import launch_id, note_launch, started_before
from triptych.tower_weights import given_towers

log = logging.getLogger("triptych.run")

_STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)


class Trained(NamedTuple):
    """How a training ended: the exit code, and where it left its files."""

    code: int
    run: RunDirectory


def train(config: DictConfig, given: nn.Module | None = None, notes: Sequence[str] = ()) -> int:
    """Trains as `config` (the schema's `Train` or `Finetune`) says, in a new or (`resume`) an old run directory, or in
    one for each fold; the exit code. `given` is a model whose weights are made to fit, `notes` are lines for the log of
    the run. In a process that a launcher started it is one of those that train together.
    """
    with joined(backend(config.trainer.accelerator), config.trainer.timeout) as ranks:
        if held_out(config) == EACH and not config.resume:
            # Each fold starts from the same weights, not from those of the fold before.
            return cross_validate(config, lambda fold: train_once(fold, copy.deepcopy(given), notes, ranks))
        return train_once(config, given, notes, ranks).code


def backend(accelerator: str) -> str:
    """How processes talk that train on this accelerator, which they choose among those of their machine."""
    cuda = accelerator in ("auto", "gpu") and torch.cuda.is_available()
    if cuda and launched():
        torch.cuda.set_device(int(os.environ.get(LOCAL, "0")))
    return backend_of("cuda" if cuda else "cpu")


def train_once(
    config: DictConfig, given: nn.Module | None = None, notes: Sequence[str] = (), ranks: Ranks | None = None
) -> Trained:
    """One training of those that `train` does."""
    ranks = ranks or Ranks()
    check_kinds(config)
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    towers = [] if config.resume else ranks.agree(lambda: given_towers(settings))
    for tower in towers:
        tower.fill(settings["model"])  # before the configuration is saved: a resume needs no other checkpoint
    run, new = _directory(settings, ranks)
    masking = Masking()
    log_file = run.log if ranks.first else run.log_of(ranks.rank)
    with ExitStack() as held:
        held.enter_context(_storage_told(run))
        ranks.agree(lambda: held.enter_context(RunLock(run.checkpoints)) if ranks.first else None)
        held.enter_context(RunLog(log_file, masking, ranks.rank))
        try:
            job = ranks.agree(lambda: Job(settings, run, given, towers, ranks))
        except BaseException:
            if new and ranks.first:
                run.discard()
            raise
        log.info("run directory %s", run.path)  # only now: a directory that is taken away again is not worth a line
        for note in notes:
            log.info(note)
        if ranks.first:
            # On a resume too: what was changed for it holds for the next one.
            plain = masking.tree({**settings, "resume": None})
            run.write_config(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
        try:
            job.fit()
        except RunStopped as stop:
            again = (
                f"Go on with `triptych {config.task} resume={run.path}{_said_again(settings)}`"
                if step_folders(run.checkpoints)
                else "Start again"
            )
            log.warning("%s. %s", stop, again)
            return Trained(int(stop.code or 0), run)
        except TrainingFault as fault:
            samples = job.bad_steps.stopped(fault.step or 0, str(fault), fault.samples)
            told = TrainingFault(f"{fault}{samples}. {_last_good(run, _said_again(settings))}")
            # Every process meets it at the same step: see `Objective`.
            raise shared(told) from fault
    return Trained(0, run)


def _directory(settings: dict[str, Any], ranks: Ranks) -> tuple[RunDirectory, bool]:
    """The run directory of all processes, and whether it is a new one. A job that its launcher starts again goes on
    with the run that it had begun; `settings` then say so.
    """
    name = launch_id(settings)
    created: list[RunDirectory] = []  # which knows the folders that were made for it

    def choose() -> tuple[str, bool]:
        if settings["resume"]:
            return settings["resume"], False
        before = name and started_before(Path(settings["output"]) / settings["task"] / settings["name"], name)
        if before:
            print(f"this job was started before: going on with {before}")
            return str(before), False
        run = RunDirectory.create(settings["output"], settings["task"], settings["name"])
        created.append(run)
        if name:
            note_launch(run.path, name)
        return str(run.path), True

    path, new = ranks.from_first(choose)
    ranks.agree(lambda: _see(Path(path)))
    if new:
        return created[0] if created else RunDirectory(Path(path)), True
    settings["resume"] = path
    return RunDirectory.open(path), False


@contextmanager
def _storage_told(run: RunDirectory) -> Iterator[None]:
    """Tells in a user's words that the disk is full or failing, whichever file of the run met it first."""
    try:
        yield
    except OSError as error:
        if error.errno not in _STORAGE_ERRORS:
            raise
        what = f"{error.filename}: " if error.filename else ""
        raise UserError(
            f"the run cannot go on in {run.path}: {what}{error.strerror} ({_free(run.path)}). "
            f"{last_whole(run.checkpoints)}; mend the storage and resume"
        ) from error


def _free(folder: Path) -> str:
    try:
        return f"{megabytes(free_bytes(folder))} are free"
    except OSError as error:
        return f"its free space cannot be told: {error.strerror}"


def _see(path: Path) -> None:
    if not path.is_dir():
        raise UserError(
            f"{socket.gethostname()} does not see the run directory {path.absolute()}, which another machine made: put "
            "output on a file system that all machines share"
        )


def _said_again(settings: dict[str, Any]) -> str:
    """What a resume asks for again, since a saved configuration may come from anybody."""
    return f" 'allow_targets=[{','.join(settings['allow_targets'])}]'" if settings["allow_targets"] else ""


def _last_good(run: RunDirectory, again: str) -> str:
    last = run.checkpoints / "last"
    if not last.exists():
        return "There is no checkpoint yet: lower optimizer.lr or set objective.clip, and start again"
    goes_on = f"triptych train resume={run.path}{again}"
    return f"The last good checkpoint is {Path(last).resolve()}: lower optimizer.lr and `{goes_on}`"
