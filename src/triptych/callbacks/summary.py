"""`summary.json`: what came out of a run, how fast, on what; and the table at its end."""

import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.text import Text
from torch import Tensor

from triptych.analysis import machine
from triptych.analysis.flops import forward_flops, model_flops_utilisation
from triptych.callbacks import words
from triptych.callbacks.extent import epoch_of
from triptych.callbacks.signals import RunStopped
from triptych.callbacks.throughput import Throughput, batch_size
from triptych.features.uneven import Uneven
from triptych.parallel.mesh import data_share
from triptych.parallel.sharded import Sharded, counts
from triptych.rundir import Masking, RunDirectory, console, write_atomic

log = logging.getLogger(__name__)

_SAMPLES = 16  # whose mean FLOPs stand for all, where images have their own sizes

Summary = dict[str, Any]


class RunSummary(Callback):
    """Writes `summary.json` at the end of a fit, a validation or a test, and also when one is stopped or fails.

    Times and samples of a resumed run include those of the processes before it. A number that is not known (the MFU of
    a device whose peak is not known, a metric that is not finite) is null, never a guess.

    Args:
        run: the run directory.
        command: the command line, for the record; secrets in it are masked.
        seed: of the run.
        screen: where the table at the end of a fit is printed; the process's console if not given.
    """

    def __init__(self, run: RunDirectory, command: Sequence[str], seed: int, screen: Console | None = None) -> None:
        self._run = run
        self._masking = Masking()
        self._command = self._masking.text(" ".join(command))
        self._seed = seed
        self._screen = screen or console()
        self._throughput = Throughput()
        self._begun = time.monotonic()
        self._started = datetime.now().astimezone().isoformat(timespec="seconds")
        self._before: dict[str, float] = {"wall_seconds": 0.0, "train_seconds": 0.0, "samples": 0}
        self._sample: dict[str, Any] = {}
        self._flops: int | None = None
        self._device: machine.Device | None = None
        self._metrics: dict[str, float | None] = {}
        self.summary: Summary = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep one sample, to count FLOPs with; some, where they have their own sizes."""
        if not self._sample and isinstance(batch, dict):
            kept = _SAMPLES if any(isinstance(part, Uneven) for part in batch.values()) else 1
            blank = getattr(pl_module, "blank", None)  # a rank without a sample takes part with one of zeros
            some: Any = blank(batch) if batch_size(batch) == 0 and callable(blank) else batch
            self._sample = {
                name: part[:kept].clone() for name, part in some.items() if isinstance(part, Tensor | Uneven)
            }

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step."""
        if self._device is None:
            self._device = machine.device(trainer.strategy.root_device, trainer.world_size)
            if self._device.peak_flops:
                self._count(pl_module)
        self._throughput.step(batch_size(batch) * data_share(trainer)[1])

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock of training."""
        self._throughput.pause()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the clock of training go on."""
        self._throughput.resume()

    @property
    def utilisation(self) -> Callable[[float], float | None]:
        """The MFU at so many samples a second of all processes; None where FLOPs or the device's peak are not known."""

        def of(samples_per_second: float) -> float | None:
            device = self._device
            if not self._flops or device is None or not device.peak_flops:
                return None
            return model_flops_utilisation(self._flops, samples_per_second, device.peak_flops, device.count)

        return of

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the FLOPs of a sample, if that was not done at the first step."""
        if self._flops is None:
            self._count(pl_module)

    def _count(self, pl_module: LightningModule) -> None:
        """On every rank: a sharded model can only run on all."""
        loss = getattr(pl_module, "loss", None)
        if not self._sample or not callable(loss):
            return
        try:
            self._flops = forward_flops(pl_module, lambda: loss(self._sample)) // len(next(iter(self._sample.values())))
        except (RuntimeError, TypeError, ValueError, KeyError, NotImplementedError) as error:
            # The trained run must end well though a part of a user's own cannot be run or counted out of training.
            log.info("FLOPs per sample are not known: %s", error)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file, before pictures and report are made of it."""
        self._write(trainer, pl_module, "finished")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the file with what there is."""
        if isinstance(exception, RunStopped):
            self._write(trainer, pl_module, f"stopped by {exception.signal_name}")
        elif isinstance(exception, KeyboardInterrupt):
            self._write(trainer, pl_module, "stopped by SIGINT")
        else:
            reason = self._masking.text(f"{type(exception).__name__}: {exception}")
            self._write(trainer, pl_module, "failed", reason)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """The last words of a fit; the file of a validation or test."""
        if not trainer.is_global_zero:
            return
        if stage == "fit":
            lines = end_table(self.summary, self._run.path)
            width = max((len(name) for name, _ in lines), default=0)
            for name, text in lines:
                self._screen.print(Text.assemble((f"{name:<{width}}  ", "bold"), text))
        else:
            self._write(trainer, pl_module, "finished")

    def state_dict(self) -> dict[str, Any]:
        """Times and samples up to here, for the process that goes on."""
        return self._totals()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Times and samples of the processes before."""
        told = {name: state_dict.get(name, 0) for name in self._before}
        self._before = {name: each if isinstance(each, int | float) else 0 for name, each in told.items()}

    def _totals(self) -> dict[str, float]:
        return {
            "wall_seconds": self._before["wall_seconds"] + time.monotonic() - self._begun,
            "train_seconds": self._before["train_seconds"] + self._throughput.seconds,
            "samples": self._before["samples"] + self._throughput.samples,
        }

    def _write(self, trainer: Trainer, pl_module: LightningModule, status: str, reason: str | None = None) -> None:
        if not trainer.is_global_zero:
            return
        metrics = trainer.callback_metrics
        self._metrics |= {name: _finite(float(metrics[name])) for name in metrics}
        self.summary = self._collect(trainer, pl_module, status, reason)
        try:
            write_atomic(self._run.summary, json.dumps(self.summary, indent=2, allow_nan=False) + "\n")
        except OSError as error:
            log.warning("%s could not be written: %s", self._run.summary, error.strerror)

    def _collect(self, trainer: Trainer, pl_module: LightningModule, status: str, reason: str | None) -> Summary:
        totals = self._totals()
        root = trainer.strategy.root_device
        device = machine.device(root, trainer.world_size)
        speed = totals["samples"] / totals["train_seconds"] if totals["train_seconds"] > 0 else None
        mfu = self.utilisation(speed) if speed else None
        strategy = trainer.strategy
        total, trained = strategy.parameters if isinstance(strategy, Sharded) else counts(pl_module.parameters())
        return {
            "status": status,
            "reason": reason,
            "started": self._started,
            "ended": datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": self._command,
            "seed": self._seed,
            "steps": trainer.global_step,
            "epochs": epoch_of(trainer),
            "metrics": dict(sorted(self._metrics.items())),
            "data": _counts(getattr(trainer, "datamodule", None)),
            "parameters": {
                "total": total,
                "trainable": trained,
            },
            "samples_per_second": speed,
            "forward_flops_per_sample": self._flops,
            "mfu": mfu,
            "wall_seconds": totals["wall_seconds"],
            "train_seconds": totals["train_seconds"],
            "peak_memory_bytes": machine.peak_memory(root),
            "device": {
                "name": device.name,
                "count": device.count,
                "threads": torch.get_num_threads(),
                "bf16_peak_flops": device.peak_flops,
            },
            "precision": str(trainer.precision),
            "versions": machine.versions(),
            "git": machine.git_state(Path.cwd()),
        }


def end_table(summary: Summary, run: Path) -> list[tuple[str, str]]:
    """The lines that end a run, as names and texts: metrics, speed, time, and where everything is."""
    if not summary:
        return []
    known = {name: number for name, number in summary["metrics"].items() if number is not None}
    shown = sorted((name for name in known if not name.startswith(("lr", "grad"))), key=_importance)
    lines = [(name, words.value(known[name])) for name in shown]
    if summary["samples_per_second"]:
        speed = words.rate(summary["samples_per_second"])
        lines.append(("samples/s", speed + (f"  (MFU {summary['mfu']:.1%})" if summary["mfu"] else "")))
    lines.append(("time", words.duration(summary["wall_seconds"])))
    lines.append(("parameters", words.size(summary["parameters"]["total"])))
    if skipped := (summary["data"] or {}).get("skipped_samples"):
        lines.append(("skipped", f"{skipped} samples that could not be read, named in run.log"))
    pictures = sorted(picture.name for picture in (run / "plots").glob("*.png"))
    if pictures:
        lines.append(("pictures", f"{run / 'plots'}: {', '.join(pictures)}"))
    if (run / "report.html").exists():
        lines.append(("report", str(run / "report.html")))
    lines.append(("run directory", str(run)))
    return lines


def _importance(name: str) -> tuple[bool, bool, str]:
    return not name.startswith("val/"), name.startswith("train/"), name


def _counts(data: object) -> dict[str, Any] | None:
    """How many samples there are of each kind, and classes; None where the data are of another kind."""
    train, validation = getattr(data, "train_source", None), getattr(data, "validation_sources", None)
    if train is None or validation is None:
        return None
    return {
        "train_samples": len(train),
        "validation_samples": {name: len(source) for name, source in validation.items()},
        "classes": len(train.classes),
        "skipped_samples": getattr(data, "skipped", 0),  # by this process; a resume counts afresh
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
