"""`info.json`: the facts that a loader needs without opening a shard."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .drawings import decode
from .packages import EMOJIBASE
from .shards import Sample
from .split import TRAIN
from .styles import HELD_OUT_STYLE, STYLES


def channel_statistics(samples: Sequence[Sample]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over all pixels of the pictures as stored, scaled to 0..1."""
    total, squares, pixels = np.zeros(3), np.zeros(3), 0
    for sample in samples:
        values = decode(sample.webp).reshape(-1, 3) / 255
        total += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
        pixels += len(values)
    mean = total / pixels
    std = np.sqrt(squares / pixels - mean**2)
    return [round(float(value), 4) for value in mean], [round(float(value), 4) for value in std]


def write_info(
    out: Path,
    groups: list[str],
    splits: Mapping[str, Sequence[Sample]],
    shards: Mapping[str, list[str]],
    image_size: int,
    quality: int,
) -> None:
    """Write `info.json` into `out`."""
    mean, std = channel_statistics(splits[TRAIN])
    info: dict[str, Any] = {
        "splits": {split: {"shards": shards[split], "samples": len(splits[split])} for split in splits},
        "groups": groups,
        "styles": [style.name for style in STYLES],
        "held_out_style": HELD_OUT_STYLE,
        "concepts": len({sample.concept.hexcode for samples in splits.values() for sample in samples}),
        "image_size": image_size,
        "webp_quality": quality,
        "mean": mean,
        "std": std,
        "samples_by_group": {
            split: {group: Counter(sample.concept.group for sample in samples)[group] for group in groups}
            for split, samples in splits.items()
        },
        "packages": {package.name: package.version for package in (*(style.package for style in STYLES), EMOJIBASE)},
    }
    (out / "info.json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
