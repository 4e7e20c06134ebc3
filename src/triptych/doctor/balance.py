"""Faults of the classes: their names, which splits have them, and how many images each has."""

import unicodedata
from collections import Counter, defaultdict

from triptych.doctor.crowd import Split
from triptych.doctor.findings import Finding, finding

FEWEST, IMBALANCE = 10, 20
"""A class with fewer training images than the first has too few; one so many times smaller than the largest is rare."""


def counts(split: Split) -> dict[str, int]:
    """Images of each class of a split, those without any too."""
    found = Counter(name for row in split.labels for name in row)
    return {name: found[name] for name in split.source.classes}


def classes(splits: list[Split]) -> list[Finding]:
    """All faults of classes. The first split is the one for training."""
    by_split = {split.name: counts(split) for split in splits}
    training = by_split[splits[0].name]
    return [
        *_alike([name for each in by_split.values() for name in each]),
        *_one_sided(by_split, splits[0].name),
        *_scarce(training),
        *_unlabelled(splits),
    ]


def _alike(names: list[str]) -> list[Finding]:
    groups: dict[str, set[str]] = defaultdict(set)
    for name in names:
        groups["".join(unicodedata.normalize("NFKC", name).casefold().replace("_", " ").split())].add(name)
    found = [" and ".join(map(repr, sorted(group))) for group in groups.values() if len(group) > 1]
    return finding(
        "alike_names", "warning", "class names that differ only by case, spaces or underscores", found,
        "give them one name where they are one class",
    )  # fmt: skip


def _one_sided(by_split: dict[str, dict[str, int]], train: str) -> list[Finding]:
    training = {name for name, count in by_split[train].items() if count}
    unknown, missing = [], []
    for split, own in by_split.items():
        if split != train:
            present = {name for name, count in own.items() if count}
            unknown += [f"{name} (in {split})" for name in sorted(present - training)]
            missing += [f"{name} (not in {split})" for name in sorted(training - present)]
    return [
        *finding("class_not_in_training", "error", "classes that no training image has: training stops", unknown,
                 "add training images of the class, or remove it there; see that it is spelled the same"),
        *finding("class_not_validated", "warning", "classes that are trained on and measured on no image", missing,
                 "add images of the class to that split"),
    ]  # fmt: skip


def _scarce(training: dict[str, int]) -> list[Finding]:
    own = {name: count for name, count in training.items() if count}
    few = [f"{name} ({count})" for name, count in own.items() if count < FEWEST]
    largest = max(own.values(), default=0)
    rare = [f"{name} ({count} of {largest})" for name, count in own.items() if largest >= IMBALANCE * count]
    return [
        *finding("few_images", "warning", f"classes with fewer than {FEWEST} training images", few,
                 "add images, or put classes together"),
        *finding("imbalance", "warning", f"classes {IMBALANCE} or more times rarer than the largest", rare,
                 "look at mean_class_accuracy and not at accuracy, or add images of the rare classes"),
    ]  # fmt: skip


def _unlabelled(splits: list[Split]) -> list[Finding]:
    multilabel = any(split.source.multilabel for split in splits)
    names = [split.source.name(row) for split in splits for row, label in enumerate(split.labels) if not label]
    if multilabel:
        return finding("no_label", "note", "samples without any label", names, "nothing to do where that is meant")
    return finding("no_label", "error", "samples whose label cannot be read", names, "add the label or remove them")
