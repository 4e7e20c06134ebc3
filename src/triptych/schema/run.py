"""The root of a training run's configuration and the settings of the training loop."""

from dataclasses import dataclass, field
from typing import Any

from triptych.schema.launcher import Slurm
from triptych.schema.option import Range, option


@dataclass
class Part:
    """A part to build: `_target_` names its class or function, the other keys are its arguments."""

    _target_: str = "???"


@dataclass
class Trainer:
    """The training loop and the machine it runs on."""

    epochs: float = option("how often every training sample is seen; may be a fraction", range=Range(above=0))
    max_steps: int | None = option(
        "stop after this many optimizer steps, even within an epoch", default=None, range=Range(least=1)
    )
    micro_batch_size: int | None = option(
        "samples that one device holds at a time; gradients of a batch are accumulated over its micro-batches; "
        "null: the whole batch at once",
        default=None,
        range=Range(least=1),
    )
    validate_every: float = option("epochs between two validations", range=Range(above=0))
    log_every: int = option("steps between two rows of metrics.csv", range=Range(least=1))
    accelerator: str = option("device to train on", default="auto", range=Range(choices=("auto", "cpu", "gpu", "mps")))
    devices: int = option(
        "devices of this machine to train on, one process each; under torchrun or srun, which start the processes, "
        "leave it alone",
        default=1,
        range=Range(least=1),
    )
    sharded: bool = option(
        "weights, gradients and optimizer states are shared out among the data-parallel processes (FSDP2)",
        default=False,
    )
    replicas: int = option(
        "whole models among the sharded ones (HSDP); 1 shards over all processes", default=1, range=Range(least=1)
    )
    tensor: int = option(
        "processes that share each matrix product (tensor parallel); they see the same samples",
        default=1,
        range=Range(least=1),
    )
    pipeline: int = option("stages of consecutive blocks, a process each", default=1, range=Range(least=1))
    timeout: float = option(
        "seconds that a process may keep the others waiting before the job ends, with the process named; loader "
        "workers that give nothing for three quarters of it end the run, with their samples named",
        default=600.0,
        range=Range(above=0),
    )
    skip_bad_steps: int = option(
        "steps in a row with a loss or gradients that are not finite which are left out before the run stops; above 0, "
        "a GPU waits for the loss of each step",
        default=0,
        range=Range(least=0),
    )
    restarts: int = option(
        "how often the processes of this machine are started again from the last checkpoint after one was lost",
        default=0,
        range=Range(least=0),
    )
    precision: str = option(
        "arithmetic; auto is bf16-mixed on a CUDA device that has bfloat16 and 32-true elsewhere; float8-mixed is "
        "bf16-mixed with the products of blocks in float8 (torchao, GPUs from Ada and Hopper on; with compile=true)",
        default="auto",
        range=Range(choices=("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true", "float8-mixed")),
    )
    compile: bool = option("compile the model with torch.compile (costs a minute or more at the start)", default=False)
    activation_checkpointing: str = option(
        "what blocks compute again in the backward pass in place of keeping it: none; selective, all but attention and "
        "every second matrix product; blocks, everything (least memory, a third more work)",
        default="none",
        range=Range(choices=("none", "selective", "blocks")),
    )
    activation_checkpointing_every: int = option(
        "of how many blocks one computes again; 1: each does", default=1, range=Range(least=1)
    )
    threads: int | None = option(
        "CPU threads of torch; null: as many as torch chooses", default=None, range=Range(least=1)
    )


@dataclass
class TowerWeights:
    """Checkpoints that the towers of a contrastive model start from, each by itself: anything that `triptych.load`
    reads, of which the tower of that name is taken, or that of a classifier for the images.
    """

    image: str | None = option("checkpoint of the image tower: a classifier, or contrastive towers", default=None)
    text: str | None = option(
        "checkpoint of the text tower, of contrastive towers; their tokenizer is taken, too", default=None
    )


@dataclass
class Train:
    """`triptych train`: a model, data, an objective, and how to optimise it."""

    task: str = option("name of the task; the first folder under `output`", default="train")
    name: str = option("name of the run; the second folder under `output`")
    seed: int = option(
        "seed of every random draw: initial weights, order, augmentation", default=0, range=Range(least=0, below=2**32)
    )
    output: str = option("folder that run directories are made in", default="outputs")
    resume: str | None = option(
        "run directory to go on with from its last checkpoint, in the same directory and with its saved configuration; "
        "other overrides (such as trainer.epochs) change that configuration",
        default=None,
    )
    weights: str | None = option(
        "checkpoint whose weights the model starts from (a run directory, a folder or a file)", default=None
    )
    tower_weights: TowerWeights = field(default_factory=TowerWeights)
    allow_targets: list[str] = option(
        "packages of your own whose classes `_target_` may name, beside triptych, torch, torchvision, torchaudio, "
        "timm, lightning and torchmetrics",
        default=[],
    )
    data: Part = field(default_factory=Part)
    model: Part = field(default_factory=Part)
    objective: Part = field(default_factory=Part)
    optimizer: Part = field(default_factory=Part)
    schedule: Part = field(default_factory=Part)
    ema: Part | None = None
    mirror: str | None = option(
        "folder of another storage, a URL that fsspec knows (s3://bucket/runs), where each save is copied while "
        "training goes on; `triptych fetch` brings it back",
        default=None,
    )
    checkpoint: Part = field(default_factory=Part)
    logger: Part | None = None
    trainer: Trainer = field(default_factory=Trainer)
    launcher: Slurm | None = None


PLACES: dict[str, tuple[type[Any], ...]] = {"trainer": (Trainer,), "tower_weights": (TowerWeights,)}
