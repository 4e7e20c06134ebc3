"""The dataclass behind the configuration of each task: tasks/NAME.py and conf/NAME.yaml go with it."""

from typing import Any

from triptych.schema.doctor import Doctor
from triptych.schema.run import Train

ROOTS: dict[str, type[Any]] = {"doctor": Doctor, "train": Train}
