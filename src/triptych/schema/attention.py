"""The configuration of `triptych attention`."""

from dataclasses import dataclass, field

from triptych.schema.evaluate import Device, Given
from triptych.schema.option import Range, option


@dataclass
class Attention:
    """`triptych attention`: pictures of what a trained model looks at."""

    checkpoint: Given = field(default_factory=Given)
    image: str = option("a picture, a folder of pictures, or a pattern such as 'photos/*.jpg'")
    target: str | None = option(
        "the class whose evidence is shown, by name or number; null: the class that is predicted", default=None
    )
    heads: bool = option("draw every head of every layer too", default=False)
    fusion: str = option(
        "how attention rollout makes one of the heads", default="mean", range=Range(choices=("mean", "min", "max"))
    )
    discard: float = option(
        "share of each layer's smallest weights that attention rollout leaves out", default=0.0,
        range=Range(least=0, below=1),
    )  # fmt: skip
    limit: int = option("the most pictures to draw", default=32, range=Range(least=1))
    task: str = option("name of the task; the first folder under `output`", default="attention")
    name: str | None = option(
        "the second folder under `output`; null: the name of the run that the checkpoint is of", default=None
    )
    output: str = option("folder that the pictures' folder is made in", default="outputs")
    device: Device = field(default_factory=Device)
    allow_targets: list[str] = option("packages of your own whose classes the checkpoint may name", default=[])
