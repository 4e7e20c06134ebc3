"""The dataclass behind the configuration of each task: tasks/NAME.py and conf/NAME.yaml go with it."""

from typing import Any

from triptych.schema.finetune import Finetune
from triptych.schema.run import Train

ROOTS: dict[str, type[Any]] = {"train": Train, "finetune": Finetune}
