"""What a task says of the trained model that it is given, and of where that runs."""

from dataclasses import dataclass

from triptych.schema.option import Range, option


@dataclass
class Given:
    """A trained model; `checkpoint=PATH` is short for `checkpoint.path=PATH`."""

    path: str = option("checkpoint to load: a run directory (its best weights), a checkpoint folder, a timm folder")
    weights: str = option(
        "ema takes the moving average of the weights where there is one, raw the trained weights themselves",
        default="ema",
        range=Range(choices=("ema", "raw")),
    )
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
