"""The configuration of `triptych fetch`."""

from dataclasses import dataclass

from triptych.schema.option import option


@dataclass
class Fetch:
    """`triptych fetch`: a run directory from the copy that `mirror=` made of it."""

    url: str = option("where the copy lies: the URL that the log of the run names", positional=True)
    output: str = option("folder that run directories are made in", default="outputs")
    task: str = option("name of the task", default="fetch")
