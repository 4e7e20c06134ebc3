"""Builds a training run from its configuration, runs it, and leaves a run directory that tells what happened."""

import copy
import logging
import math
import shutil
import sys
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from torch import nn

from triptych.build import RUN_PACKAGES, build
from triptych.callbacks.checkpointing import Checkpointing
from triptych.callbacks.metrics import MetricsLogger
from triptych.callbacks.pictures import RunPictures
from triptych.callbacks.position import Position
from triptych.callbacks.progress import RunProgress
from triptych.callbacks.recipe import Recipe
from triptych.callbacks.signals import GracefulStop, RunStopped
from triptych.callbacks.summary import RunSummary
from triptych.checkpoints.find import step_folders
from triptych.checkpoints.format import read_checkpoint
from triptych.checkpoints.io import FolderCheckpointIO
from triptych.checkpoints.lock import RunLock
from triptych.data.module import ImageData
from triptych.errors import TrainingFault, UserError
from triptych.features.preprocess import Preprocess
from triptych.heap import keep_freed_memory
from triptych.objectives.base import Objective
from triptych.rundir import Masking, RunDirectory, RunLog
from triptych.schema.model import takes_channels
from triptych.weights import start_from

log = logging.getLogger("triptych.run")


def train(config: DictConfig) -> int:
    """Trains as `config` (the schema's `Train`) says, in a new or (`resume`) an old run directory; the exit code."""
    run = (
        RunDirectory.open(config.resume)
        if config.resume
        else RunDirectory.create(config.output, config.task, config.name)
    )
    masking = Masking()
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    with RunLock(run.checkpoints), RunLog(run.log, masking):
        try:
            job = _Run(settings, run)
        except UserError:
            if not config.resume:
                _discard(run, Path(config.output))
            raise
        log.info("run directory %s", run.path)  # only now: a directory that is taken away again is not worth a line
        # On a resume too: what was changed for it holds for the next one.
        plain = masking.tree({**settings, "resume": None})
        run.write_config(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
        try:
            job.fit()
        except RunStopped as stop:
            again = f"Go on with `triptych train resume={run.path}`" if step_folders(run.checkpoints) else "Start again"
            log.warning("%s. %s", stop, again)
            return int(stop.code or 0)
        except TrainingFault as fault:
            raise TrainingFault(f"{fault}. {_last_good(run)}") from fault
    return 0


def _discard(run: RunDirectory, output: Path) -> None:
    """Takes away the directory of a run that never began, and the folders above it that held nothing else."""
    shutil.rmtree(run.path)
    for folder in (run.path.parent, run.path.parent.parent, output):
        if any(folder.iterdir()):
            break
        folder.rmdir()


class _Run:
    """The parts of one run; `settings` are the resolved configuration in plain containers."""

    def __init__(self, settings: dict[str, Any], run: RunDirectory) -> None:
        self.settings, self.run = copy.deepcopy(settings), run
        settings = self.settings
        self.allow = (*RUN_PACKAGES, *settings["allow_targets"])
        trainer = settings["trainer"]
        if trainer["devices"] > 1:
            raise UserError(
                f"trainer.devices is {trainer['devices']}, but this command trains on one device: leave it at 1"
            )
        if trainer["threads"]:
            torch.set_num_threads(trainer["threads"])
        seed_everything(settings["seed"], workers=False, verbose=False)
        self.data: ImageData = build(settings["data"], self.allow)
        self.data.setup("fit")
        self.total_steps = _total_steps(trainer, self.data.steps_per_epoch)
        self.data.stop_step = self.total_steps
        self.model = self._model()
        self.objective = self._objective()
        self.checkpoint = self._checkpoint()
        if settings["resume"]:
            self._check_unfinished()
        elif settings["weights"]:
            start_from(self.model, settings["weights"], tuple(settings["allow_targets"]))
        self.trainer = self._trainer(self.checkpoint)

    def fit(self) -> None:
        """Trains to the end, then writes the summary, the pictures and the report."""
        if self.settings["trainer"]["compile"]:
            self.model.compile()
        if self.trainer.strategy.root_device.type == "cpu":
            keep_freed_memory()
        last = self.run.last_checkpoint() if self.settings["resume"] else None
        self.trainer.fit(self.objective, datamodule=self.data, ckpt_path=last, weights_only=False)

    def _check_unfinished(self) -> None:
        step = read_checkpoint(self.run.last_checkpoint())["global_step"]
        if step >= self.total_steps:
            trainer = self.settings["trainer"]
            bound = "max_steps" if trainer["max_steps"] == self.total_steps else "epochs"
            raise UserError(
                f"{self.run.path} is finished: it has made {step} steps of {self.total_steps}. To go on for longer, "
                f"raise trainer.{bound} above {trainer[bound]:g}"
            )

    def _model(self) -> nn.Module:
        config = self.settings["model"]
        wanted = {"num_classes": len(self.data.classes), "channels": self.data.channels}
        for place, key, what in ((config, "num_classes", "classes"), (takes_channels(config), "channels", "channels")):
            if place.get(key) is None:
                place[key] = wanted[key]
            elif place[key] != wanted[key]:
                raise UserError(
                    f"the model has {key}={place[key]}, but the data have {wanted[key]} {what}: leave {key} of the "
                    "model empty (null)"
                )
        model = build(config, self.allow)
        evaluate = self.settings["data"]["evaluate"]
        self.preprocess = Preprocess(
            self.data.image_size, self.data.mean, self.data.std, evaluate["interpolation"], evaluate["crop_fraction"]
        )
        model.preprocess = self.preprocess
        return model

    def _objective(self) -> Objective:
        make = build(self.settings["objective"], self.allow)
        if self.data.multilabel != self.settings["objective"]["multi_label"]:
            raise UserError(
                f"objective.multi_label={self.settings['objective']['multi_label']}, but the data have "
                f"{'several labels' if self.data.multilabel else 'one label'} a sample: choose "
                f"objective={'multi_label' if self.data.multilabel else 'classification'}"
            )
        optimizer, schedule = (build(self.settings[part], self.allow) for part in ("optimizer", "schedule"))
        schedule(optimizer(self.model), self.total_steps)  # their mistakes must show before the run begins
        return make(
            model=self.model,
            optimizer=optimizer,
            schedule=schedule,
            num_classes=len(self.data.classes),
            mean=self.data.mean,
            std=self.data.std,
            micro_batch_size=self.settings["trainer"]["micro_batch_size"],
            validation_names=self.data.validation_names,
        )

    def _checkpoint(self) -> Checkpointing:
        settings = self.settings["checkpoint"]
        monitor = settings["monitor"] or self.objective.monitor
        logged = self.objective.validation_metrics
        if monitor not in logged:
            raise UserError(
                f"checkpoint.monitor is {monitor!r}, which no validation logs; logged are {', '.join(logged)}"
            )
        return build({**settings, "monitor": monitor, "folder": str(self.run.checkpoints)}, self.allow)

    def _recipe(self) -> Recipe:
        preprocess = self.preprocess.to_dict()
        return Recipe({"model": self.settings["model"], "classes": self.data.classes, "preprocess": preprocess})

    def _tracker(self, settings: dict[str, Any]) -> Logger:
        try:
            return build(settings, self.allow)(save_dir=str(self.run.path))
        except ModuleNotFoundError as error:
            name = settings["_target_"].rpartition(".")[2]
            raise UserError(
                f"{name} cannot be used: {str(error).splitlines()[0]}. Install its extra, or set logger=null"
            ) from error

    def _trainer(self, checkpoint: Checkpointing) -> Trainer:
        settings = self.settings["trainer"]
        steps_per_epoch = self.data.steps_per_epoch
        metrics = MetricsLogger(self.run.metrics)
        loggers: list[Logger] = [metrics]
        if self.settings["logger"]:
            loggers.append(self._tracker(self.settings["logger"]))
        callbacks: list[Callback] = [
            Position(self.data),
            self._recipe(),
            RunProgress(),
            metrics.recorder,
            GracefulStop(checkpoint),
            checkpoint,
        ]
        if self.settings["ema"]:
            callbacks.append(build(self.settings["ema"], self.allow))
        summary = RunSummary(self.run, ["triptych", *sys.argv], self.settings["seed"])
        callbacks += [summary, RunPictures(self.run, summary)]
        return Trainer(
            max_epochs=-1,  # one pass of Lightning over all steps: the loader crosses epochs by itself
            max_steps=self.total_steps,
            val_check_interval=min(max(1, round(settings["validate_every"] * steps_per_epoch)), self.total_steps),
            check_val_every_n_epoch=None,
            log_every_n_steps=min(settings["log_every"], self.total_steps),
            accelerator=settings["accelerator"],
            devices=settings["devices"],
            precision=_precision(settings["precision"], settings["accelerator"]),
            default_root_dir=str(self.run.path),
            logger=loggers,
            callbacks=callbacks,
            plugins=[FolderCheckpointIO()],
            enable_checkpointing=True,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )


def _total_steps(trainer: dict[str, Any], steps_per_epoch: int) -> int:
    steps = math.ceil(trainer["epochs"] * steps_per_epoch)
    return min(steps, trainer["max_steps"] or steps)


def _precision(asked: str, accelerator: str) -> Any:
    """`auto` by device; a word of warning where a CPU is asked for arithmetic that it is slow at."""
    on_cuda = accelerator in ("auto", "gpu") and torch.cuda.is_available()
    if asked == "auto":
        return "bf16-mixed" if on_cuda and torch.cuda.is_bf16_supported() else "32-true"
    if not on_cuda and "16" in asked:
        log.warning("precision=%s on this device can be hundreds of times slower than 32-true", asked)
    return asked


def _last_good(run: RunDirectory) -> str:
    last = run.checkpoints / "last"
    if not last.exists():
        return "There is no checkpoint yet: lower optimizer.lr or set objective.clip, and start again"
    return (
        f"The last good checkpoint is {Path(last).resolve()}: lower optimizer.lr and `triptych train resume={run.path}`"
    )
