"""The roots of the configurations of `triptych evaluate` and `triptych predict`: what a trained model is asked."""

from dataclasses import dataclass, field

from triptych.schema.option import Range, option
from triptych.schema.run import Part


@dataclass
class Weights:
    """A checkpoint; `checkpoint=PATH` is short for `checkpoint.path=PATH`."""

    path: str = option("checkpoint to load: a run directory (its best weights), a checkpoint folder, a foreign folder")
    weights: str = option(
        "ema takes the moving average of the weights where there is one, raw the trained weights themselves",
        default="ema",
        range=Range(choices=("ema", "raw")),
    )


@dataclass
class Given(Weights):
    """A trained classifier."""

    classes: str | None = option(
        "text file with the name of each class, one a line in the order of the model's outputs, where the checkpoint "
        "has none",
        default=None,
    )


@dataclass
class Device:
    """What the model runs on."""

    accelerator: str = option(
        "device to run on; auto takes a CUDA device where there is one",
        default="auto",
        range=Range(choices=("auto", "cpu", "gpu", "mps")),
    )
    precision: str = option(
        "arithmetic of the model", default="32-true", range=Range(choices=("32-true", "bf16-mixed", "16-mixed"))
    )
    threads: int | None = option(
        "CPU threads of torch; null: as many as torch chooses, shared among the devices",
        default=None,
        range=Range(least=1),
    )


@dataclass
class Evaluate:
    """`triptych evaluate`: a trained model's metrics on a data set."""

    task: str = option("name of the task; the first folder under `output`", default="evaluate")
    name: str | None = option("second folder under `output`; null: the name of the checkpoint's run", default=None)
    seed: int = option("seed of the bootstrap's draws", default=0, range=Range(least=0, below=2**32))
    output: str = option("folder that the directories of results are made in", default="outputs")
    checkpoint: Given = field(default_factory=Given)
    data: Part | None = None
    sets: list[str] | None = option(
        "names of the validation sets to evaluate, and `train` for the training set; null: every validation set",
        default=None,
    )
    threshold: float = option(
        "probability from which a class counts as said, where samples have several labels",
        default=0.5,
        range=Range(above=0, below=1),
    )
    resamples: int = option(
        "draws of the bootstrap behind each 95% interval; 0 for no intervals", default=1000, range=Range(least=0)
    )
    bins: int = option("bins of confidence of the calibration error", default=15, range=Range(least=1))
    worst: int = option("mistakes in the picture of the worst ones", default=32, range=Range(least=1, most=200))
    predictions: str = option(
        "file of all predictions; parquet needs the extra `parquet`",
        default="csv",
        range=Range(choices=("csv", "parquet")),
    )
    probabilities: bool = option("put the probability of every class into the file of predictions", default=False)
    device: Device = field(default_factory=Device)
    devices: int = option("processes to share the samples, one a device", default=1, range=Range(least=1))
    allow_targets: list[str] = option(
        "packages of your own whose classes the checkpoint and the data may name", default=[]
    )


@dataclass
class Predict:
    """`triptych predict`: what a trained model says of images or sounds."""

    checkpoint: Given = field(default_factory=Given)
    input: str = option(
        "an image or a sound, a folder (read at any depth), a pattern such as 'pictures/*.jpg', or - for standard "
        "input: one file's content, or a list of files, one a line"
    )
    output: str | None = option(
        "file to write, .csv, .json or .jsonl; - writes to standard output in `format`; null: a table",
        default=None,
    )
    format: str = option("form of what output=- writes", default="csv", range=Range(choices=("csv", "json", "jsonl")))
    overwrite: bool = option("replace the output file where it exists", default=False)
    top: int = option("classes told of each file, the most probable first", default=5, range=Range(least=1))
    threshold: float = option(
        "least probability of a class to be told, where samples have several labels",
        default=0.5,
        range=Range(above=0, below=1),
    )
    hop_seconds: float | None = option(
        "of a recording longer than the model takes at once: seconds from window to window; null: half a window",
        default=None,
        range=Range(above=0),
    )
    over_time: bool = option("tell each window of a recording, instead of their mean", default=False)
    batch_size: int = option("images or windows that the model gets at a time", default=32, range=Range(least=1))
    workers: int = option("threads that read and decode images", default=4, range=Range(least=1))
    device: Device = field(default_factory=Device)
    allow_targets: list[str] = option("packages of your own whose classes the checkpoint may name", default=[])
