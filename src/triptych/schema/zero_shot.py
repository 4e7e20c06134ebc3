"""The root of the configuration of `triptych zero_shot`."""

from dataclasses import dataclass, field

from triptych.schema.evaluate import Device, Weights
from triptych.schema.option import Range, option
from triptych.schema.run import Part


@dataclass
class ZeroShot:
    """`triptych zero_shot`: a contrastive model asked about classes by their names, or to find captions and images."""

    task: str = option("name of the task; the first folder under `output`", default="zero_shot")
    name: str | None = option("second folder under `output`; null: the name of the checkpoint's run", default=None)
    seed: int = option(
        "seed of the bootstrap's draws and of the probes' samples", default=0, range=Range(least=0, below=2**32)
    )
    output: str = option("folder that the directories of results are made in", default="outputs")
    checkpoint: Weights = field(default_factory=Weights)
    image: str | None = option(
        "ask about this instead of data: an image, a folder (read at any depth), a pattern, or - for standard input",
        default=None,
    )
    labels: str | None = option("what `image` could show, divided by commas, such as 'a cat,a dog'", default=None)
    data: Part | None = None
    sets: list[str] | None = option(
        "names of the validation sets to measure on, and `train` for the training set; null: every validation set",
        default=None,
    )
    templates: str | None = option(
        "what is said of a class, {} standing for its name: a template, several divided by |, a file with one a line, "
        "or a set such as imagenet, photo, emoji; null: data.templates, else photo for labelled images, and the name "
        "alone for labels=... and for data with captions",
        default=None,
    )
    classes: str | None = option(
        "names to choose from: a text file with a name a line, or CLASS<tab>NAME a line to say the classes of the data "
        "in other words, or the list imagenet; null: the data's own names",
        default=None,
    )
    measure: str = option(
        "classification needs classes, retrieval captions; auto does what the data allow",
        default="auto",
        range=Range(choices=("auto", "classification", "retrieval")),
    )
    probe: bool = option("fit a linear probe on the features of the training set as well", default=False)
    shots: list[int] = option(
        "fit probes on so many training samples of each class as well, such as [1,4,16]", default=[]
    )
    draws: int = option("times that the samples of each number of shots are drawn", default=5, range=Range(least=1))
    top: int = option("classes told of each image, the most probable first", default=5, range=Range(least=1))
    resamples: int = option(
        "draws of the bootstrap behind each 95% interval; 0 for no intervals", default=1000, range=Range(least=0)
    )
    bins: int = option("bins of confidence of the calibration error", default=15, range=Range(least=1))
    pictures: int = option(
        "images in the picture of top guesses, and mistakes in that of the worst ones", default=32,
        range=Range(least=1, most=200),
    )  # fmt: skip
    predictions: str = option(
        "file of all predictions; parquet needs the extra `parquet`",
        default="csv",
        range=Range(choices=("csv", "parquet")),
    )
    device: Device = field(default_factory=Device)
    devices: int = option("processes to share the samples, one a device", default=1, range=Range(least=1))
    allow_targets: list[str] = option(
        "packages of your own whose classes the checkpoint and the data may name", default=[]
    )
