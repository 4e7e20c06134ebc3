"""Optimizers, schedules, weight averaging, saving and logging."""

from dataclasses import dataclass
from typing import Any

from triptych.schema.option import Range, option
from triptych.schema.run import Part

_SHARE_OR_STEPS = "a share of the training below 1, else a number of steps"


@dataclass
class AdamW(Part):
    """AdamW."""

    _target_: str = "triptych.optim.adamw.adamw"
    _partial_: bool = True
    lr: float = option("peak learning rate", range=Range(above=0))
    betas: list[float] = option("decay of the averages of the gradient and of its square", default=[0.9, 0.999])
    eps: float = option("added to the root of the averaged square", default=1e-8, range=Range(above=0))
    weight_decay: float = option(
        "decoupled weight decay, multiplied by the learning rate; not for biases, norms, positions, tokens and gains",
        default=0.05,
        range=Range(least=0),
    )
    fused: bool | None = option("torch's fused kernel; null: where the device has it", default=None)


@dataclass
class Muon(Part):
    """Muon for the matrices of linear maps, AdamW for the rest."""

    _target_: str = "triptych.optim.muon.muon"
    _partial_: bool = True
    lr: float = option("peak learning rate of Muon, scaled to match an AdamW update", range=Range(above=0))
    momentum: float = option("momentum of Muon", default=0.95, range=Range(least=0, below=1))
    weight_decay: float = option("decoupled weight decay of matrices", default=0.05, range=Range(least=0))
    adamw_lr: float | None = option(
        "peak learning rate of the AdamW part; null: `lr`", default=None, range=Range(above=0)
    )
    nesterov: bool = option("Nesterov's form of the momentum", default=True)
    ns_steps: int = option(
        "polynomial steps that make an update orthogonal, of three matrix products each",
        default=5,
        range=Range(least=1),
    )
    betas: list[float] = option("averages of the AdamW part", default=[0.9, 0.95])
    eps: float = option("added to the root in the AdamW part", default=1e-8, range=Range(above=0))
    fused: bool | None = option("torch's fused kernel in the AdamW part; null: where the device has it", default=None)


@dataclass
class Cosine(Part):
    """Linear warm-up, then half a cosine."""

    _target_: str = "triptych.optim.schedule.cosine"
    _partial_: bool = True
    warmup: float = option(f"warm-up: {_SHARE_OR_STEPS}", default=0.05, range=Range(least=0))
    final: float = option("factor of the learning rate at the end", default=0.0, range=Range(least=0, most=1))


@dataclass
class Wsd(Part):
    """Warm-up, a stable stretch, a decay at the end."""

    _target_: str = "triptych.optim.schedule.wsd"
    _partial_: bool = True
    warmup: float = option(f"warm-up: {_SHARE_OR_STEPS}", default=0.05, range=Range(least=0))
    decay: float = option(f"decay at the end: {_SHARE_OR_STEPS}", default=0.2, range=Range(least=0))
    final: float = option("factor of the learning rate at the end", default=0.0, range=Range(least=0, most=1))
    shape: str = option("shape of the decay", default="sqrt", range=Range(choices=("sqrt", "linear", "cosine")))


@dataclass
class Constant(Part):
    """Warm-up, then the full rate for as long as training goes on."""

    _target_: str = "triptych.optim.schedule.constant"
    _partial_: bool = True
    warmup: float = option(f"warm-up: {_SHARE_OR_STEPS}", default=0.0, range=Range(least=0))


@dataclass
class Ema(Part):
    """A moving average of the weights, which validation and the saved model use."""

    _target_: str = "triptych.callbacks.ema.EMACallback"
    decay: float = option("of the average at each step", default=0.999, range=Range(least=0, below=1))
    warmup: bool = option("a shorter average at the start, as (1 + step) / (10 + step) grows to `decay`", default=True)


@dataclass
class Swa(Part):
    """The plain mean of the weights over the last part of training, which validation and the saved model use."""

    _target_: str = "triptych.callbacks.swa.SWACallback"
    start: float = option("share of the steps after which it begins", default=0.75, range=Range(least=0, below=1))


@dataclass
class Checkpointing(Part):
    """When a run is saved and which of its saves are kept."""

    _target_: str = "triptych.callbacks.checkpointing.Checkpointing"
    every_steps: int | None = option(
        "optimizer steps between saves; null for none by step", default=None, range=Range(least=1)
    )
    every_seconds: float | None = option(
        "seconds between saves; null for none by time", default=None, range=Range(above=0)
    )
    monitor: str | None = option("validation metric that decides `best`; null for no `best`", default=None)
    mode: str | None = option(
        "whether `monitor` should be small or large; null: small for a loss, large for all else",
        default=None,
        range=Range(choices=("min", "max")),
    )
    keep: int = option("newest saves that stay; `best` stays besides", default=2, range=Range(least=1))
    background: bool = option("write saves while training goes on, from a copy in memory", default=True)


@dataclass
class TensorBoard(Part):
    """Metrics for TensorBoard in the run directory."""

    _target_: str = "lightning.pytorch.loggers.TensorBoardLogger"
    _partial_: bool = True
    name: str = option("folder of the event files inside the run directory", default="tensorboard")
    version: str = option("folder inside that one; empty for none", default="")


@dataclass
class WeightsAndBiases(Part):
    """Metrics to Weights & Biases; needs the extra `triptych[wandb]`."""

    _target_: str = "lightning.pytorch.loggers.WandbLogger"
    _partial_: bool = True
    project: str = option("project that runs appear in", default="triptych")
    name: str | None = option("name of the run there; null: one that the service makes up", default=None)
    offline: bool = option("write to the run directory only, for a later `wandb sync`", default=False)


@dataclass
class MlFlow(Part):
    """Metrics to MLflow; needs the extra `triptych[mlflow]`."""

    _target_: str = "lightning.pytorch.loggers.MLFlowLogger"
    _partial_: bool = True
    experiment_name: str = option("experiment that runs appear in", default="triptych")
    tracking_uri: str | None = option(
        "address or folder of the tracking store; null: MLFLOW_TRACKING_URI", default=None
    )


PLACES: dict[str, tuple[type[Any], ...]] = {
    "optimizer": (AdamW, Muon),
    "schedule": (Cosine, Wsd, Constant),
    "ema": (Ema, Swa),
    "checkpoint": (Checkpointing,),
    "logger": (TensorBoard, WeightsAndBiases, MlFlow),
}
