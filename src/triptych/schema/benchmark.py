"""The roots of the configurations of `triptych benchmark` and `triptych learning_rate`."""

from dataclasses import dataclass, field

from triptych.schema.evaluate import Device
from triptych.schema.option import Range, option
from triptych.schema.run import Part, Train


@dataclass
class Benchmark:
    """`triptych benchmark`: how fast a model and the loader are, beside timm's."""

    task: str = option("name of the task; the first folder under `output`", default="benchmark")
    name: str = option("name of the benchmark; the second folder under `output`")
    seed: int = option("seed of weights and of the random images", default=0, range=Range(least=0, below=2**32))
    output: str = option("folder that the directories of results are made in", default="outputs")
    mode: str = option(
        "what is timed: train (forward, backward and a step of torch's AdamW), inference (forward), loader (files to "
        "batches of uint8 images), or all of these",
        default="train",
        range=Range(choices=("train", "inference", "loader", "all")),
    )
    batch_size: int | str = option(
        "samples in a step; auto: as many as a training step has room for in `memory`", default=8
    )
    memory: str | None = option(
        "memory for batch_size=auto, such as 4GiB; null: nine tenths of what is free on the device", default=None
    )
    pairs: int = option(
        "times that ours and the peer's are run in turn; without a peer, times that ours is run",
        default=9,
        range=Range(least=2),
    )
    against: str | None = option(
        "whose model and loader to compare with; null: none", default="timm", range=Range(choices=("timm",))
    )
    compile: str = option(
        "whose model is compiled with torch.compile", default="none", range=Range(choices=("none", "ours", "both"))
    )
    loader_batches: int = option("batches in one run of the loader", default=16, range=Range(least=1))
    device: Device = field(default_factory=Device)
    allow_targets: list[str] = option(
        "packages of your own whose classes `_target_` may name, beside those that a training run may name", default=[]
    )
    data: Part = field(default_factory=Part)
    model: Part = field(default_factory=Part)


@dataclass
class Finder:
    """The climb of the learning rate."""

    steps: int = option("optimizer steps of each climb", default=100, range=Range(least=30))
    lowest: float = option("learning rate of the first step", default=1e-6, range=Range(above=0))
    highest: float = option("learning rate of the last step", default=10.0, range=Range(above=0))
    seeds: int = option(
        "climbs, each with its own weights and order of samples, that must agree", default=2, range=Range(least=2)
    )


@dataclass
class LearningRate(Train):
    """`triptych learning_rate`: the settings of `triptych train`, and how the rate climbs."""

    task: str = option("name of the task; the first folder under `output`", default="learning_rate")
    finder: Finder = field(default_factory=Finder)
