"""Whoever chooses data, a model or an objective of one kind of training means the other parts to be of that kind, too.

Towers that learn from captions and classifiers that learn from labels share tasks (`train`, `learning_rate`), and
their parts do not go together. A fine-tuning goes by the weights that it is given.
"""

import re
from functools import cache

from triptych.command import groups
from triptych.schema.option import near

_PARTS = {"data": "pairs", "model": "contrastive_model", "objective": "contrastive"}
"""The groups whose choices are of a kind, and the schema of those of contrastive training."""
_CONTRASTIVE = {"model": "clip_nano", "objective": "contrastive"}
"""What goes with data of pairs where nothing else is chosen."""
_CLASSIFIER = "emoji"
"""The experiment for the parts of a classifier without data."""
_OWN = ("model.tower.", "model/tower/", "model.head", "model/head", "objective.mix", "objective/mix")
"""Keys that only a classifier has."""
_DEFAULT = re.compile(r"^\s*(?:defaults: \[|-)\s*(/schema/)?(\w+)(@_here_)?\s*(?:,.*\])?$", re.MULTILINE)


def followed(overrides: list[str], task_groups: list[str]) -> list[str]:
    """The overrides of a task that chooses from `task_groups`, and what follows from them."""
    chosen = {}
    for override in overrides:
        key, _, value = override.partition("=")
        chosen[key.lstrip("+")] = value.strip("'\"")
    kinds = {contrasts(group, chosen[group]) for group in _PARTS if group in chosen and group in task_groups}
    if any(key.startswith(_OWN) for key in chosen):
        kinds.add(False)
    if not kinds or "experiment" in chosen or "~experiment" in chosen:
        return overrides
    added = []
    if "experiment" in task_groups and "model" in task_groups:  # a fine-tuning has none unless it is chosen
        # Other data want none of the settings that the default experiment made for its own.
        added = ["~experiment"] if "data" in chosen else [f"experiment={_CLASSIFIER}"] if kinds == {False} else []
    if kinds == {True} and "data" in chosen and "model" in task_groups and "objective" in task_groups:
        added += [
            f"{group}={choice}"
            for group, choice in _CONTRASTIVE.items()
            if group in task_groups and group not in chosen
        ]
    return [*overrides, *added]


@cache
def contrasts(group: str, choice: str) -> bool:
    """Whether a choice is a part of contrastive training, by the schema that its file, or one that it begins with,
    starts from.
    """
    if choice not in groups.choices(group) and not _shared(group, choice):
        close = near(choice, list(groups.choices(group)))  # the choice will be refused, and what is meant is named
        return bool(close) and contrasts(group, close[0])
    for schema, name, here in _DEFAULT.findall(groups.file_of(group, choice).read_text(encoding="utf-8")):
        if schema and here:
            return name == _PARTS[group]
        if not schema and name != "_self_" and contrasts(group, name):
            return True
    return False


def _shared(group: str, choice: str) -> bool:
    """A file that others begin with."""
    return choice.startswith("_") and any((root / group / f"{choice}.yaml").is_file() for root in groups.roots())
