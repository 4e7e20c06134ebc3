"""The configuration of `triptych compare`."""

from dataclasses import dataclass

from triptych.schema.option import Range, option


@dataclass
class Compare:
    """`triptych compare`: two runs, and where they part."""

    first: str = option("run directory, the first word without a key", positional=True)
    second: str = option("run directory to compare it with, the second word without a key", positional=True)
    tolerance: float = option(
        "relative difference, to the larger of both values, up to which they count as equal; 0: equal to the last bit",
        default=0.0,
        range=Range(least=0),
    )
    picture: str | None = option(
        "file (.png) to draw the loss of both and their relative difference into; null: none", default=None
    )
    json: str | None = option("file to write everything that was found into, for programs; null: none", default=None)
    task: str = option("name of the task", default="compare")
