"""When a run is saved, and which of its saves are kept."""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from triptych.callbacks.saves import Saves
from triptych.callbacks.signals import EXIT_CODES
from triptych.checkpoints.background import Background
from triptych.checkpoints.files import clean_staging, make_folder
from triptych.checkpoints.find import FOLDER, LAST
from triptych.checkpoints.format import save_failed
from triptych.checkpoints.io import FolderCheckpointIO
from triptych.checkpoints.rng import rng_state, rng_states, seed_share, set_rng_state
from triptych.errors import UserError
from triptych.parallel.mesh import data_share
from triptych.parallel.votes import Votes

log = logging.getLogger(__name__)

_TIME = "time"  # the flag of whoever's clock says that a save is due


class Checkpointing(Checkpoint):
    """Saves at step boundaries and keeps `last` and `best`; needs `FolderCheckpointIO` among the trainer's plugins.

    A save is a new step folder; `last` (and `best`, when the monitored metric improved) is moved to it once it is
    durable, and only then, and after reading it back, older ones go. It saves every `every_steps` steps, every
    `every_seconds` seconds, at the end of each validation, at the last step, and when asked by `request`. Deriving
    from Lightning's `Checkpoint` makes it the last callback of each hook, so what other callbacks change in theirs is
    in the save; what the module changes in `on_train_batch_end` is not (Lightning calls that later): a step's work
    belongs in `training_step`.

    On resume the random generators are put back right before the first batch, when everything else that draws has
    drawn.

    Args:
        every_steps: optimizer steps between saves; None for none by step.
        every_seconds: seconds between saves; None for none by time.
        monitor: logged validation metric that decides `best`; None for no `best`.
        mode: whether `monitor` should be small ("min") or large ("max"); None: small for a loss, large for all else.
        keep: how many of the newest saves stay, at least 1; `best` stays besides.
        background: write saves while training goes on; one that a stop asked for, and the last, are waited for.
        folder: where; None is `checkpoints` in the trainer's `default_root_dir`.

    Raises:
        UserError: an argument out of range; a save that failed (full disk, I/O error); `monitor` is not logged.
    """

    def __init__(
        self,
        every_steps: int | None = None,
        every_seconds: float | None = None,
        monitor: str | None = None,
        mode: Literal["min", "max"] | None = None,
        keep: int = 2,
        folder: str | Path | None = None,
        background: bool = False,
    ) -> None:
        for name, value in (("every_steps", every_steps), ("every_seconds", every_seconds), ("keep", keep)):
            if value is not None and not value > 0:
                raise UserError(
                    f"checkpoint.{name} is {value}; it must be above 0 (leave every_... empty to switch it off)"
                )
        if mode not in ("min", "max", None):
            raise UserError(f"checkpoint.mode is {mode!r}; expected 'min' or 'max'")
        self.every_steps, self.every_seconds = every_steps, every_seconds
        self.monitor, self.mode = monitor, mode or ("min" if monitor and monitor.endswith("loss") else "max")
        self._folder, self._keep, self._background = folder, keep, background
        self._saves: Saves | None = None
        self.best_score: float | None = None
        self.last_step: int | None = None  # of the newest save of this process
        self._request: str | None = None
        self.votes = Votes((*EXIT_CODES, _TIME))
        self._validation_owed = False
        self._rng: dict[str, Any] | None = None
        self._saved_at = time.monotonic()
        self.published: Callable[[], None] = _nothing
        """Called in the first process when a save is durable and `last` leads to it, in the thread that wrote it."""

    def request(self, reason: str) -> None:
        """Ask for a save at the next step boundary, even before a validation due there; on every rank alike.

        `requested` is None again once it is durable.
        """
        self._request = reason

    @property
    def saves(self) -> Saves:
        """The run's saves; known once the trainer has set this up."""
        assert self._saves is not None, "setup comes first"
        return self._saves

    @property
    def folder(self) -> Path:
        """Where the saves are."""
        return self.saves.folder

    @property
    def requested(self) -> str | None:
        """Why a save has been asked for and not yet made."""
        return self._request

    # When

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._saves is None:
            chosen = self._folder if self._folder is not None else Path(trainer.default_root_dir) / FOLDER
            self._saves = Saves(Path(chosen), self._keep)
        _writing(trainer).threaded = self._background
        if stage == "fit" and trainer.is_global_zero:
            try:
                make_folder(self.folder)
                leftovers = clean_staging(self.folder)
            except OSError as error:
                raise save_failed(self.folder / LAST, error, 0) from error
            if leftovers:
                log.info("removed %d unfinished save(s) of an earlier crash from %s", len(leftovers), self.folder)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at = time.monotonic()
        if self._validation_owed:
            self.validate_now(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._rng is not None:
            set_rng_state(self._rng)
            self._rng = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        _writing(trainer).check()
        reason = self._due(trainer)
        if reason is None:
            return
        epoch_loop = trainer.fit_loop.epoch_loop
        fetcher = trainer.fit_loop._data_fetcher
        validation_next = fetcher is not None and epoch_loop._should_check_val_fx(fetcher)
        if validation_next and self._request is None:
            return  # the save comes after the validation, with its result
        self._save(trainer, reason, validation_owed=validation_next)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _writing(trainer).wait()  # its loaders fork this process, which should have no other thread then

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and trainer.global_step > 0:
            self._save(trainer, "validation", improved=self._improved(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.last_step != trainer.global_step:
            self._save(trainer, "end of training")
        self.votes.settle()
        _writing(trainer).wait()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        try:
            _writing(trainer).wait()  # what was saved before stays of use
        except UserError as error:
            log.error("%s", error)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        _writing(trainer).wait()

    def _due(self, trainer: Trainer) -> str | None:
        step = trainer.global_step
        self._vote(trainer)
        if self._request is not None:
            return self._request
        if step == self.last_step:
            return None  # the batch made no step
        if self.every_steps is not None and step // self.every_steps > (self.last_step or 0) // self.every_steps:
            return f"every {self.every_steps} steps"
        if self.votes.seen(_TIME):
            return f"every {self.every_seconds:g} seconds"
        last_epoch = trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch + 1
        if trainer.should_stop or 0 <= trainer.max_steps <= step or (last_epoch and trainer.is_last_batch):
            return "last step"
        return None

    def _vote(self, trainer: Trainer) -> None:
        """Clocks and signals differ between ranks, and a save is a collective act."""
        if self.every_seconds is not None and time.monotonic() - self._saved_at >= self.every_seconds:
            self.votes.cast(_TIME)
        self.votes.exchange()

    def validate_now(self, trainer: Trainer) -> None:
        """Validates, and saves, at the step that a resume begins with; random generators end as they were saved."""
        # A requested save came before the validation of its step; Lightning would count that validation as done.
        self._validation_owed = False
        if self._rng is not None:
            set_rng_state(self._rng)
        validation = trainer.fit_loop.epoch_loop.val_loop
        validation.restarting = False
        trainer.validating = True
        validation.run()
        trainer.training = True
        if self._rng is not None:
            self._rng = rng_state()

    # What

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["rng"] = rng_states(trainer.world_size, data_share(trainer)[0])

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        states = checkpoint.get("rng", [])
        self.last_step = checkpoint["global_step"]
        share, shares = data_share(trainer)
        if len(states) == shares:
            self._rng = states[share]
            return
        seed_share(checkpoint["global_step"], share)
        if trainer.is_global_zero:
            log.warning(
                "the checkpoint has the random states of %d share(s) of a batch, this run has %d: the samples are the "
                "same, but noise that the model draws will differ from an uninterrupted run's",
                len(states), shares,
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        return {
            "monitor": self.monitor,
            "mode": self.mode,
            "best_score": self.best_score,
            "best_name": self.saves.best,
            "saved": list(self.saves.names),
            "validation_owed": self._validation_owed,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        told = {"monitor", "mode", "best_score", "best_name", "saved", "validation_owed"}
        if not state_dict.keys() >= told or not isinstance(state_dict["saved"], list):
            raise UserError("the checkpoint does not say which saves there are: it is damaged, or not what a run left")
        self.saves.adopt(state_dict["saved"], self.last_step)
        self._validation_owed = state_dict["validation_owed"] is True
        if (state_dict["monitor"], state_dict["mode"]) != (self.monitor, self.mode):
            log.warning(
                "best so far was the %s of %s and is now the %s of %s: starting anew",
                state_dict["mode"], state_dict["monitor"], self.mode, self.monitor,
            )  # fmt: skip
        elif state_dict["best_name"] in self.saves.names and isinstance(state_dict["best_score"], float | int):
            self.best_score, self.saves.best = state_dict["best_score"], state_dict["best_name"]

    def _improved(self, trainer: Trainer) -> bool:
        if self.monitor is None:
            return False
        if self.monitor not in trainer.callback_metrics:
            logged = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
            raise UserError(f"checkpoint.monitor is {self.monitor!r}, which is not logged; logged are: {logged}")
        score = float(trainer.callback_metrics[self.monitor])
        if math.isnan(score):
            return False
        better = self.best_score is None or (score < self.best_score if self.mode == "min" else score > self.best_score)
        if better:
            self.best_score = score
        return better

    def _save(self, trainer: Trainer, reason: str, improved: bool = False, validation_owed: bool = False) -> None:
        saves, writing = self.saves, _writing(trainer)
        writing.wait()  # one save at a time; the names that it keeps are known when it is done
        name = trainer.strategy.broadcast(saves.free_name(trainer.global_step))
        # The save must already say what it is: after a kill it is all that a resume knows.
        saves.names.append(name)
        self._validation_owed = validation_owed
        if improved:
            saves.best = name
        trainer.save_checkpoint(self.folder / name, weights_only=False)
        self._validation_owed = False
        best = f", best {self.monitor} {self.best_score:.6g}" if improved else ""
        if trainer.is_global_zero:
            writing.then(lambda: self._publish(name, f"{reason}){best}"))
        if self._request is not None:
            writing.wait()
            # What is asked for is a stop, and a launcher ends the others soon after one has ended: not before the first
            # has published the save.
            trainer.strategy.barrier("saved")
        self._request = None
        self.last_step, self._saved_at = trainer.global_step, time.monotonic()

    def _publish(self, name: str, reason: str) -> None:
        try:
            self.saves.publish(name)
        except OSError as error:
            raise save_failed(self.folder / name, error, 0) from error
        log.info("saved %s (%s", self.folder / name, reason)
        self.published()


def _nothing() -> None:
    pass


def _writing(trainer: Trainer) -> Background:
    """What the saves of this trainer are written by."""
    plugin = trainer.strategy.checkpoint_io
    assert isinstance(plugin, FolderCheckpointIO)
    return plugin.background
