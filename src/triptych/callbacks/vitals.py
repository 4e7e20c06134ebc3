"""Writes down how this process fares, for `triptych status`: see `triptych.rundir.vitals`."""

import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from triptych.analysis import machine
from triptych.callbacks.extent import total_steps
from triptych.callbacks.signals import RunStopped
from triptych.callbacks.throughput import LoaderClock, Throughput, batch_size
from triptych.parallel.mesh import data_share
from triptych.rundir.vitals import Vitals

log = logging.getLogger(__name__)

_INTERVAL = 2.0  # seconds


class VitalSigns(Callback):
    """Tells how far and how fast this process is, every two seconds of training, and how it ended.

    Args:
        run: the run directory.
        utilisation: the MFU at so many samples a second, where it is known.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        run: Path,
        utilisation: Callable[[float], float | None] = lambda speed: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run, self._utilisation, self._clock = run, utilisation, clock
        self._throughput = Throughput(clock)
        self._loader: LoaderClock | None = None
        self._told = -_INTERVAL
        self._mark = (0.0, 0.0)  # when, and how long this process had waited for others by then
        self._broken = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._loader = LoaderClock.attach(trainer) if stage == "fit" else None
        self._throughput = Throughput(self._clock, self._loader)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = (self._clock(), _waited(pl_module))
        self._tell(trainer, pl_module, "training")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._throughput.step(batch_size(batch) * data_share(trainer)[1])
        if self._clock() - self._told >= _INTERVAL:
            self._tell(trainer, pl_module, "training")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._throughput.pause()
        self._tell(trainer, pl_module, "validating")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._throughput.resume()
        self._tell(trainer, pl_module, "training")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell(trainer, pl_module, "finished")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        stopped = isinstance(exception, RunStopped)
        self._tell(trainer, pl_module, f"stopped by {exception.signal_name}" if stopped else "failed")

    def _tell(self, trainer: Trainer, pl_module: LightningModule, phase: str) -> None:
        now, pace = self._clock(), self._throughput.recent
        since, waited = self._mark
        share = (_waited(pl_module) - waited) / (now - since) if now > since else 0.0
        if now - since > 10:
            self._mark = (now, _waited(pl_module))
        self._told = now
        root = trainer.strategy.root_device
        memory = machine.peak_memory(root)
        vitals = Vitals(
            rank=trainer.global_rank, host=socket.gethostname(), pid=os.getpid(), time=time.time(), phase=phase,
            step=trainer.global_step, total=total_steps(trainer),
            samples_per_second=pace and pace.samples_per_second, seconds_per_step=pace and pace.seconds_per_step,
            data_share=pace and pace.wait_share, wait_share=min(1.0, share),
            mfu=self._utilisation(pace.samples_per_second) if pace else None,
            memory=memory["cuda"] if root.type == "cuda" else memory["process"],
        )  # fmt: skip
        try:
            vitals.write(self._run)
        except OSError as error:
            if not self._broken:  # once: a full disk is told by what needs it more
                log.warning("how this process fares cannot be written down: %s", error.strerror)
            self._broken = True


def _waited(pl_module: LightningModule) -> float:
    control = getattr(pl_module, "control", None)
    return control.waited if control is not None else 0.0
