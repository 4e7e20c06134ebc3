"""Builds a training run from its configuration, runs it, and leaves a run directory that tells what happened."""

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from torch import nn

from triptych.callbacks.signals import RunStopped
from triptych.checkpoints.find import step_folders
from triptych.checkpoints.lock import RunLock
from triptych.cross_validation import cross_validate, held_out
from triptych.data.folds import EACH
from triptych.errors import TrainingFault
from triptych.job import Job
from triptych.kinds import check_kinds
from triptych.rundir import Masking, RunDirectory, RunLog
from triptych.tower_weights import given_towers

log = logging.getLogger("triptych.run")


class Trained(NamedTuple):
    """How a training ended: the exit code, and where it left its files."""

    code: int
    run: RunDirectory


def train(config: DictConfig, given: nn.Module | None = None, notes: Sequence[str] = ()) -> int:
    """Trains as `config` (the schema's `Train` or `Finetune`) says, in a new or (`resume`) an old run directory, or in
    one for each fold; the exit code. `given` is a model whose weights are made to fit, `notes` are lines for the log of
    the run.
    """
    if held_out(config) == EACH and not config.resume:
        # Each fold starts from the same weights, not from those of the fold before.
        return cross_validate(config, lambda fold: train_once(fold, copy.deepcopy(given), notes))
    return train_once(config, given, notes).code


def train_once(config: DictConfig, given: nn.Module | None = None, notes: Sequence[str] = ()) -> Trained:
    """One training of those that `train` does."""
    check_kinds(config)
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    towers = [] if config.resume else given_towers(settings)
    for tower in towers:
        tower.fill(settings["model"])  # before the configuration is saved: a resume needs no other checkpoint
    run = (
        RunDirectory.open(config.resume)
        if config.resume
        else RunDirectory.create(config.output, config.task, config.name)
    )
    masking = Masking()
    with RunLock(run.checkpoints), RunLog(run.log, masking):
        try:
            job = Job(settings, run, given, towers)
        except BaseException:
            if not config.resume:
                run.discard()
            raise
        log.info("run directory %s", run.path)  # only now: a directory that is taken away again is not worth a line
        for note in notes:
            log.info(note)
        # On a resume too: what was changed for it holds for the next one.
        plain = masking.tree({**settings, "resume": None})
        run.write_config(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
        try:
            job.fit()
        except RunStopped as stop:
            again = (
                f"Go on with `triptych {config.task} resume={run.path}`"
                if step_folders(run.checkpoints)
                else "Start again"
            )
            log.warning("%s. %s", stop, again)
            return Trained(int(stop.code or 0), run)
        except TrainingFault as fault:
            raise TrainingFault(f"{fault}. {_last_good(run)}") from fault
    return Trained(0, run)


def _last_good(run: RunDirectory) -> str:
    last = run.checkpoints / "last"
    if not last.exists():
        return "There is no checkpoint yet: lower optimizer.lr or set objective.clip, and start again"
    return (
        f"The last good checkpoint is {Path(last).resolve()}: lower optimizer.lr and `triptych train resume={run.path}`"
    )
