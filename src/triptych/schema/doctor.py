"""The root of a data check's configuration."""

from dataclasses import dataclass, field

from triptych.schema.option import Range, option
from triptych.schema.run import Part


@dataclass
class Doctor:
    """`triptych doctor`: data, looked at and not trained on."""

    task: str = option("name of the task; the first folder under `output`", default="doctor")
    name: str = option("name of the check; the second folder under `output`")
    seed: int = option("seed that the data's settings refer to; no finding depends on it", default=0,
                       range=Range(least=0, below=2**32))  # fmt: skip
    output: str = option("folder that run directories are made in", default="outputs")
    processes: int | None = option(
        "processes that look at images; null: as many as the machine has cores", default=None, range=Range(least=1)
    )
    allow_targets: list[str] = option(
        "packages of your own whose classes `_target_` may name, beside those that a training run may name", default=[]
    )
    data: Part = field(default_factory=Part)
