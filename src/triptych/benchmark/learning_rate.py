"""`triptych learning_rate`: short trainings whose learning rate climbs, and what they say. Nothing is kept of them."""

import json
import logging
import math
import sys
import time
import warnings
from typing import Any, cast

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig, OmegaConf
from rich.text import Text

from triptych.analysis import machine
from triptych.analysis.rates import draw_climbs
from triptych.callbacks.display import Status, display
from triptych.errors import TrainingFault, UserError
from triptych.job import Job, precision_of
from triptych.measure.learning_rate import Reading, agreed, ramp, read
from triptych.rundir import Masking, RunDirectory, RunLog, console, write_atomic

log = logging.getLogger("triptych.learning_rate")

_SOME = 5  # steps whose mean loss is looked at while training
_GIVEN_UP = 1.5  # a loss that is so many times that of the start is lost


def find(config: DictConfig) -> int:
    """Looks for a rate as `config` (the schema's `LearningRate`) says; the exit code.

    Raises:
        UserError: no rate can be told; the message says why, and where the picture is.
    """
    if config.resume:
        raise UserError("resume has no place here: nothing of a search is kept. To start from weights give weights=RUN")
    finder = config.finder
    if not finder.lowest < finder.highest:
        raise UserError(f"finder.lowest={finder.lowest:g} must be below finder.highest={finder.highest:g}")
    run = RunDirectory.create(config.output, config.task, config.name, folders=("plots",))
    masking = Masking()
    with RunLog(run.log, masking):
        try:
            readings = [_climb(config, run, number) for number in range(finder.seeds)]
        except BaseException:
            run.discard()
            raise
        settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
        run.write_config(yaml.safe_dump(masking.tree(settings), sort_keys=False, allow_unicode=True))
        picture = run.plots / "learning_rate.png"
        rate, reason = None, None
        try:
            rate = agreed(readings)
        except UserError as error:
            reason = str(error)
        draw_climbs(readings, rate, picture)
        facts = {
            "rate": rate,
            "refused": reason,
            "climbs": [{**vars(reading), "rate": reading.rate} for reading in readings],
            "command": masking.text(" ".join(["triptych", *sys.argv])),
            "versions": machine.versions(),
        }
        write_atomic(run.path / "learning_rate.json", json.dumps(_finite(facts), indent=1) + "\n")
    if rate is None:
        raise UserError(f"{reason}. The curves: {picture}")
    told = ", ".join(f"{reading.rate:.2g}" for reading in readings)
    console().print(Text.assemble(("learning rate  ", "bold"), f"{rate:.2g} (the seeds say {told})"))
    console().print(Text.assemble(("train with     ", "bold"), f"optimizer.lr={rate:.2g}"))
    console().print(Text.assemble(("curves         ", "bold"), str(picture)))
    return 0


def _climb(config: DictConfig, run: RunDirectory, number: int) -> Reading:
    """One climb, with the `number`-th seed."""
    finder = config.finder
    changed = config.copy()
    changed.seed = config.seed + number
    settings = cast(dict[str, Any], OmegaConf.to_container(changed, resolve=True, throw_on_missing=True))
    settings["schedule"] = {
        "_target_": "triptych.optim.schedule.climb", "_partial_": True,
        "lowest": finder.lowest, "highest": finder.highest,
    }  # fmt: skip
    # An epoch has at least one step.
    settings["trainer"] |= {"epochs": finder.steps, "max_steps": finder.steps}
    settings |= {"logger": None, "ema": None}
    job = Job(settings, run, None)
    if settings["trainer"]["compile"]:
        job.model.compile()
    watch = _Watch(f"climb {number + 1} of {finder.seeds}", finder.steps)
    trainer = Trainer(
        max_epochs=-1, max_steps=finder.steps, accelerator=settings["trainer"]["accelerator"], devices=1,
        precision=precision_of(settings["trainer"]["precision"], settings["trainer"]["accelerator"]),
        default_root_dir=str(run.path), logger=False, callbacks=[watch], log_every_n_steps=1, limit_val_batches=0,
        enable_checkpointing=False, enable_model_summary=False, enable_progress_bar=False,
        use_distributed_sampler=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
        try:
            trainer.fit(job.objective, datamodule=job.data)
        except TrainingFault:
            watch.losses.append(math.inf)  # the loss or its gradients were not finite: it has diverged
        finally:
            watch.close()
    finite = sum(map(math.isfinite, watch.losses))
    rates = ramp(finder.lowest, finder.highest, finder.steps)
    if finite < 2 * _SOME:
        raise UserError(
            f"training went wrong at the learning rate {rates[finite]:.2g}, step {finite + 1} of the climb: start "
            "lower, finder.lowest"
        )
    return read(rates, watch.losses)


class _Watch(Callback):
    """Keeps the loss of every step, shows how far it is, and ends a training that is lost."""

    def __init__(self, label: str, steps: int) -> None:
        self.losses: list[float] = []
        self._label, self._steps = label, steps
        self._display = display(console(), time.monotonic())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One step more."""
        self.losses.append(float(outputs["loss"]))
        now = time.monotonic()
        if self._display.due(now, len(self.losses), None):
            self._display.show(Status(self._label, len(self.losses), self._steps), now)
        first, last = self.losses[:_SOME], self.losses[-_SOME:]
        if len(self.losses) > 2 * _SOME and sum(last) > _GIVEN_UP * sum(first):
            trainer.should_stop = True

    def close(self) -> None:
        """Takes the display away."""
        self._display.close()


def _finite(value: Any) -> Any:
    """JSON has no number that is not finite."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
