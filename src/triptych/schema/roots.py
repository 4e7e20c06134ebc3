"""The dataclass behind the configuration of each task: tasks/NAME.py and conf/NAME.yaml go with it."""

import dataclasses
from functools import cache
from typing import Any

from triptych.schema.attention import Attention
from triptych.schema.benchmark import Benchmark, LearningRate
from triptych.schema.compare import Compare
from triptych.schema.doctor import Doctor
from triptych.schema.evaluate import Evaluate, Predict, Weights
from triptych.schema.export import Export
from triptych.schema.fetch import Fetch
from triptych.schema.finetune import Finetune
from triptych.schema.run import Train
from triptych.schema.statistics import Statistics
from triptych.schema.status import Status
from triptych.schema.zero_shot import ZeroShot

ROOTS: dict[str, type[Any]] = {
    "attention": Attention,
    "benchmark": Benchmark,
    "compare": Compare,
    "doctor": Doctor,
    "evaluate": Evaluate,
    "export": Export,
    "fetch": Fetch,
    "finetune": Finetune,
    "learning_rate": LearningRate,
    "predict": Predict,
    "statistics": Statistics,
    "status": Status,
    "train": Train,
    "zero_shot": ZeroShot,
}


@cache
def shorthand(task: str) -> frozenset[str]:
    """Keys of a task of which `KEY=PATH` is short for `KEY.path=PATH`."""
    return frozenset(item.name for item in dataclasses.fields(ROOTS[task]) if _is_checkpoint(item.type))


@cache
def positional(task: str) -> tuple[str, ...]:
    """Keys of a task whose values are also given by bare words, in this order: `triptych compare RUN RUN`."""
    return tuple(item.name for item in dataclasses.fields(ROOTS[task]) if item.metadata.get("positional"))


def _is_checkpoint(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Weights)
