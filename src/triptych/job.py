"""The parts of a training run, built from its settings and put together."""

import copy
import logging
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.loggers import Logger
from torch import nn

from triptych.build import RUN_PACKAGES, build
from triptych.callbacks.average import AverageCallback
from triptych.callbacks.bad_steps import BadSteps
from triptych.callbacks.checkpointing import Checkpointing
from triptych.callbacks.closing import Closing
from triptych.callbacks.metrics import MetricsLogger
from triptych.callbacks.pictures import RunPictures
from triptych.callbacks.position import Position
from triptych.callbacks.progress import RunProgress
from triptych.callbacks.recipe import Recipe
from triptych.callbacks.signals import GracefulStop
from triptych.callbacks.summary import RunSummary
from triptych.callbacks.vigil import Vigil
from triptych.callbacks.vitals import VitalSigns
from triptych.checkpoints.io import FolderCheckpointIO
from triptych.checkpoints.mirror import Mirror
from triptych.checkpoints.rng import seed_share
from triptych.data.labelled import LabelledData
from triptych.errors import UserError
from triptych.heap import keep_freed_memory
from triptych.kinds import check_teacher, kind_of
from triptych.nn.float8 import require_float8, use_float8
from triptych.nn.stack import Stack
from triptych.objectives.base import Objective
from triptych.objectives.stages import check_stages
from triptych.parallel.apply import checkpoint_activations
from triptych.parallel.environment import JoinedEnvironment
from triptych.parallel.ranks import Ranks, connect
from triptych.parallel.sharded import Sharded
from triptych.parallel.strategy import FLOAT8, grid_of, strategy_of
from triptych.parallel.watch import Watch
from triptych.resume import check_resumable
from triptych.rundir import RunDirectory
from triptych.strategies import Full
from triptych.tower_weights import GivenTower
from triptych.weights import adapt_from, start_from

log = logging.getLogger("triptych.run")


class Job:
    """The parts of one run.

    Args:
        settings: the resolved configuration (the schema's `Train` or `Finetune`) in plain containers.
        run: where the run leaves its files.
        given: a model whose weights are made to fit; None where the settings say all.
        towers: of other checkpoints, which those of a contrastive model start from.
        ranks: the processes that train together; None for this one alone.

    Raises:
        UserError: parts that do not go together, and whatever their own constructors refuse.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        run: RunDirectory,
        given: nn.Module | None,
        towers: Sequence[GivenTower] = (),
        ranks: Ranks | None = None,
    ) -> None:
        self.settings, self.run, self.ranks = copy.deepcopy(settings), run, ranks or Ranks()
        settings = self.settings
        self.allow = (*RUN_PACKAGES, *settings["allow_targets"])
        trainer = settings["trainer"]
        if trainer["devices"] > self.ranks.world_size:
            raise UserError(
                f"trainer.devices is {trainer['devices']}, but this command trains on one device: leave it at 1"
            )
        _check_accelerator(trainer["accelerator"])
        if threads := trainer["threads"] or self.ranks.threads:
            torch.set_num_threads(threads)
        self.grid = grid_of(trainer, self.ranks)
        self.parallel = strategy_of(trainer, self.grid)
        self.strategy: Full = build(settings["strategy"], self.allow) if settings.get("strategy") else Full()
        self.strategy.adjust(settings)
        seed_everything(settings["seed"], workers=False, verbose=False)
        self.data: LabelledData = build(settings["data"], self.allow)
        self.bad_steps = BadSteps.of(run.path, self.ranks.rank, lambda sample: self.data.train_source.name(sample))
        self._make_objective = build(settings["objective"], self.allow)
        self.kind = kind_of(self._make_objective)
        self.kind.fill(settings["model"], self.data, self.allow)
        self.data.setup("fit")
        self.total_steps = _total_steps(trainer, self.data.steps_per_epoch)
        self.data.stop_step = self.total_steps
        # Before `Watch` ends the job, which knows the process, but not the samples.
        self.data.patience = 0.75 * trainer["timeout"]
        # Once more: parts may have drawn, as the loading of a teacher does, and the weights are to be the seed's alone.
        seed_everything(settings["seed"], workers=False, verbose=False)
        self.model = self._model()
        if given is not None:
            self._fit_weights(given)
        elif settings["weights"] and not settings["resume"]:
            start_from(self.model, settings["weights"], tuple(settings["allow_targets"]))
        for tower in towers:
            tower.copy_to(self.model, settings["model"]["towers"][tower.name])
        self.strategy.prepare(self.model)
        if trainer["precision"] == FLOAT8:
            require_float8(torch.device("cuda" if _on_cuda(trainer["accelerator"]) else "cpu"))
            if not isinstance(self.parallel, Sharded):
                use_float8(module for module in self.model.modules() if isinstance(module, Stack))
        checkpoint_activations(
            self.model, trainer["activation_checkpointing"], trainer["activation_checkpointing_every"]
        )
        self._complete = False
        self.objective = self._objective()
        if self.grid.pipeline > 1:
            check_stages(self.objective, self.grid.pipeline, trainer["precision"])
        self.checkpoint = self._checkpoint()
        self.mirror = Mirror(settings["mirror"], run.path) if settings["mirror"] and self.ranks.first else None
        if self.mirror is not None:
            self.checkpoint.published = self.mirror.send
        self.trainer = self._trainer(self.checkpoint)
        if self._complete:
            self.trainer.fit_loop = Closing(self.trainer, self.checkpoint)
        self._begun = False

    def _begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begun = True

    def fit(self) -> None:
        """Trains to the end, then writes the summary, the pictures and the report."""
        if self.settings["trainer"]["compile"] and not isinstance(self.parallel, Sharded):
            self.model.compile()  # `Sharded` and `Pipelined` compile each block
        if share := self.grid.data_rank(self.ranks.rank):
            seed_share(self.settings["seed"], share)
        if self.trainer.strategy.root_device.type == "cpu":
            keep_freed_memory()
        last = self.run.last_checkpoint() if self.settings["resume"] else None
        self.ranks.agree(self.mirror.begin if self.mirror is not None else lambda: None)
        with warnings.catch_warnings():
            # What a strategy freezes stands in evaluation mode on purpose.
            warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
            # Nothing works in place on what a tower or a head returns.
            warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
            try:
                self.trainer.fit(self.objective, datamodule=self.data, ckpt_path=last, weights_only=False)
            except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
                if last is None or self._begun:
                    raise
                log.debug("the state could not be put back", exc_info=True)
                raise UserError(
                    f"{last} does not hold the state of a run that could go on ({error!r:.200}); its weights start a "
                    "new one with weights=RUN_DIRECTORY"
                ) from error
            finally:
                if self.mirror is not None:
                    self.mirror.send()  # the report and the last metrics, too
                    self.mirror.finish()

    def _model(self) -> nn.Module:
        model = build(self.settings["model"], self.allow)
        self.preprocess = self.kind.preprocess(model, self.data, self.settings)
        model.preprocess = self.preprocess
        return model

    def _fit_weights(self, given: nn.Module) -> None:
        classes = (getattr(given, "config", None) or {}).get("classes")
        fit = adapt_from(self.model, given, keep_head=classes == self.data.classes)
        log.info("weights of %s: %s", self.settings["weights"], fit)

    def _objective(self) -> Objective:
        optimizer, schedule = (build(self.settings[part], self.allow) for part in ("optimizer", "schedule"))
        optimizer = self.strategy.optimizer(optimizer)
        first = optimizer(self.model)  # what is wrong with it must show before the run begins
        schedule(first, self.total_steps)
        if self.settings["resume"]:
            self._complete = not check_resumable(
                self.run, self.model, first, self._description(), self.total_steps, self.settings["trainer"]
            )
        objective = self._make_objective(
            model=self.model,
            optimizer=optimizer,
            schedule=schedule,
            micro_batch_size=self.settings["trainer"]["micro_batch_size"],
            validation_names=self.data.validation_names,
            **self.kind.arguments(self.data, self.settings["objective"]),
        )
        check_teacher(objective, self.data)
        objective.guard.limit = self.settings["trainer"]["skip_bad_steps"]
        objective.on_bad_step = self.bad_steps.left_out
        return objective

    def _checkpoint(self) -> Checkpointing:
        settings = self.settings["checkpoint"]
        monitor = settings["monitor"] or self.objective.monitor
        logged = self.objective.validation_metrics
        if monitor not in logged:
            raise UserError(
                f"checkpoint.monitor is {monitor!r}, which no validation logs; logged are {', '.join(logged)}"
            )
        return build({**settings, "monitor": monitor, "folder": str(self.run.checkpoints)}, self.allow)

    def _description(self) -> dict[str, Any]:
        """What a checkpoint says of the model."""
        described = {"model": self.settings["model"], **self.kind.recipe(self.data)}
        described["preprocess"] = self.preprocess.to_dict()
        return described | ({"adapters": self.strategy.adapters} if self.strategy.adapters else {})

    def _tracker(self, settings: dict[str, Any]) -> Logger:
        try:
            tracker: Logger = build(settings, self.allow)(save_dir=str(self.run.path))
        except ModuleNotFoundError as error:
            name = settings["_target_"].rpartition(".")[2]
            raise UserError(
                f"{name} cannot be used: {str(error).splitlines()[0]}. Install its extra, or set logger=null"
            ) from error
        # Names of trackers become parts of paths.
        if tracker.log_dir and not Path(tracker.log_dir).resolve().is_relative_to(self.run.path.resolve()):
            raise UserError(
                f"logger would write to {tracker.log_dir}, out of the run directory {self.run.path}: change its name"
            )
        return tracker

    def _trainer(self, checkpoint: Checkpointing) -> Trainer:
        settings = self.settings["trainer"]
        steps_per_epoch = self.data.steps_per_epoch
        metrics = MetricsLogger(self.run.metrics)
        loggers: list[Logger] = [metrics]
        if self.settings["logger"]:
            loggers.append(self._tracker(self.settings["logger"]))
        callbacks: list[Callback] = [
            Position(self.data),
            Recipe(self._description()),
            RunProgress(),
            metrics.recorder,
            GracefulStop(checkpoint),
            checkpoint,
            LambdaCallback(on_train_start=self._begin),
        ]
        if self.ranks.world_size > 1:
            timeout, ranks = settings["timeout"], self.ranks
            watch = Watch(ranks.rank, ranks.world_size, lambda: connect(timeout / 2), timeout)
            callbacks.insert(0, Vigil(watch))
        if self.settings["ema"]:
            average = build(self.settings["ema"], self.allow)
            if not isinstance(average, AverageCallback):
                raise UserError(f"ema is a {type(average).__name__}; expected an average of weights, such as ema=ema")
            callbacks.append(average)
        summary = RunSummary(self.run, ["triptych", *sys.argv], self.settings["seed"])
        callbacks += [summary, VitalSigns(self.run.path, summary.utilisation), RunPictures(self.run, summary)]
        return Trainer(
            max_epochs=-1,  # one pass of Lightning over all steps: the loader crosses epochs by itself
            max_steps=self.total_steps,
            val_check_interval=min(max(1, round(settings["validate_every"] * steps_per_epoch)), self.total_steps),
            check_val_every_n_epoch=None,
            log_every_n_steps=min(settings["log_every"], self.total_steps),
            accelerator=settings["accelerator"],
            devices=self.ranks.local_size,
            num_nodes=self.ranks.nodes,
            strategy=self.parallel,
            precision=precision_of(settings["precision"], settings["accelerator"]),
            default_root_dir=str(self.run.path),
            logger=loggers,
            callbacks=callbacks,
            plugins=self._plugins(),
            enable_checkpointing=True,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )

    def _plugins(self) -> list[Any]:
        ranks = self.ranks
        if ranks.world_size == 1:
            return [FolderCheckpointIO()]
        patience = self.settings["trainer"]["timeout"]
        together = isinstance(self.parallel, Sharded)
        saves = FolderCheckpointIO(ranks.rank, ranks.world_size, patience) if together else FolderCheckpointIO()
        return [saves, JoinedEnvironment(ranks)]


def _total_steps(trainer: dict[str, Any], steps_per_epoch: int) -> int:
    steps = math.ceil(trainer["epochs"] * steps_per_epoch)
    return min(steps, trainer["max_steps"] or steps)


def _check_accelerator(asked: str) -> None:
    has = {"gpu": torch.cuda.is_available() or torch.backends.mps.is_available(),
           "mps": torch.backends.mps.is_available()}  # fmt: skip
    if not has.get(asked, True):
        raise UserError(f"trainer.accelerator={asked}, and this machine has no such device: set it to auto or cpu")


def _on_cuda(accelerator: str) -> bool:
    return accelerator in ("auto", "gpu") and torch.cuda.is_available()


def precision_of(asked: str, accelerator: str) -> Any:
    """`auto` by device; a word of warning where a CPU is asked for arithmetic that it is slow at."""
    on_cuda = _on_cuda(accelerator)
    if asked == FLOAT8:
        return "bf16-mixed"
    if asked == "auto":
        return "bf16-mixed" if on_cuda and torch.cuda.is_bf16_supported() else "32-true"
    if not on_cuda and "16" in asked:
        log.warning("precision=%s on this device can be hundreds of times slower than 32-true", asked)
    return asked
