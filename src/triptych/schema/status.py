"""The configuration of `triptych status`."""

from dataclasses import dataclass

from triptych.schema.option import option


@dataclass
class Status:
    """`triptych status`: how a run fares, while it goes on or after."""

    run: str = option("run directory, the word without a key", positional=True)
    json: bool = option("print everything as JSON, for programs", default=False)
    task: str = option("name of the task", default="status")
