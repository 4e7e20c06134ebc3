"""The root of the configuration of `triptych statistics`."""

from dataclasses import dataclass, field

from triptych.schema.option import Range, option
from triptych.schema.run import Part


@dataclass
class Statistics:
    """`triptych statistics`: what a front end normalises by, measured on sounds."""

    task: str = option("name of the task", default="statistics")
    seed: int = option("seed that the data's settings refer to; no number depends on it", default=0,
                       range=Range(least=0, below=2**32))  # fmt: skip
    allow_targets: list[str] = option(
        "packages of your own whose classes `_target_` may name, beside those that a training run may name", default=[]
    )
    data: Part = field(default_factory=Part)
