"""Images that occur more than once: within a split, under two labels, or in two splits, which spoils the measure."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from triptych.doctor.crowd import Split
from triptych.doctor.findings import Finding, finding

FAR_BITS, FAR_PIXELS = 8, 8.0
"""Near-duplicates: at most so many of the 128 bits of their hashes differ, and their thumbnails by at most so much a
pixel (of 255) in the mean, after the difference of the mean brightness is taken away."""

_BANDS = FAR_BITS + 1
_FEATURELESS = 4.0
_LARGEST_BUCKET = 4000
_ONES = np.array([bin(value).count("1") for value in range(256)], dtype=np.uint8)

Place = tuple[int, int]
"""A split and a row of it."""


def duplicates(splits: list[Split]) -> list[Finding]:
    """Images with the very same pixels."""
    groups: dict[bytes, list[Place]] = defaultdict(list)
    for number, split in enumerate(splits):
        for row, seen in enumerate(split.seen):
            if not seen.fault:
                groups[seen.pixels].append((number, row))
    within, conflicts, leaks = [], [], []
    for places in groups.values():
        if len(places) < 2:
            continue
        names = [splits[number].source.name(row) for number, row in places]
        labels = [splits[number].labels[row] for number, row in places]
        if len({*labels}) > 1:
            told = [f"{name} is {' + '.join(label) or 'nothing'}" for name, label in zip(names, labels, strict=True)]
            conflicts.append(", ".join(told[:3]))
        if len({number for number, _ in places}) > 1:
            parts = [f"{name} ({splits[number].name})" for name, (number, _) in zip(names, places, strict=True)]
            leaks.append(" = ".join(parts[:3]))
        # Under another label it is more than a duplicate, and told above.
        first: dict[tuple[int, tuple[str, ...]], str] = {}
        for (number, _), name, label in zip(places, names, labels, strict=True):
            if (number, label) in first:
                within.append(f"{name} = {first[number, label]}")
            first.setdefault((number, label), name)
    return [
        *finding("conflicting_labels", "error", "images that occur with different labels: one of them is wrong",
                 conflicts, "look at each, keep the right label and remove the other file"),
        *finding("leak", "error", "images that lie in two splits: results on them are too good to be true", leaks,
                 "remove them from training"),
        *finding("duplicate", "warning", "images that occur more than once within a split", within,
                 "keep one of each: repeated ones weigh more than others"),
    ]  # fmt: skip


def near_leaks(splits: list[Split]) -> list[Finding]:
    """Images of one split that are nearly those of another: resized, saved again, or the next of a film."""

    def told(place: Place) -> str:
        return f"{splits[place[0]].source.name(place[1])} ({splits[place[0]].name})"

    found = [f"{told(one)} ~ {told(other)}" for one, other in _near_pairs(splits)]
    return finding(
        "near_leak", "warning", "images of one split that look nearly like one of another split: results on them may "
        "be too good", found, "keep all images of one scene, object or person in the same split",
    )  # fmt: skip


def _near_pairs(splits: list[Split]) -> Iterator[tuple[Place, Place]]:
    """Near-duplicates across splits, each image of a later split at most once, in their order."""
    places, hashes, thumbnails = _gathered(splits)
    if not len(places):
        return
    partner: dict[int, int] = {}
    # If at most FAR_BITS bits differ, one at least of FAR_BITS + 1 bands is the same in both: only such pairs are
    # compared, so that the work stays near the number of images and not its square.
    bits = np.unpackbits(hashes, axis=1)
    for band in np.array_split(np.arange(bits.shape[1]), _BANDS):
        keys = np.packbits(bits[:, band], axis=1)
        _, bucket = np.unique(keys, axis=0, return_inverse=True)
        order = np.argsort(bucket.ravel(), kind="stable")
        for rows in np.split(order, np.cumsum(np.bincount(bucket.ravel()))[:-1]):
            if len(rows) > 1 and len({*places[rows, 0].tolist()}) > 1:
                for row, other in _close(rows[:_LARGEST_BUCKET], places, hashes, thumbnails):
                    partner[row] = min(partner.get(row, other), other)
    for row in sorted(partner):
        other = partner[row]
        yield (int(places[other, 0]), int(places[other, 1])), (int(places[row, 0]), int(places[row, 1]))


def _close(
    rows: np.ndarray, places: np.ndarray, hashes: np.ndarray, thumbnails: np.ndarray
) -> Iterator[tuple[int, int]]:
    """Pairs (row of a later split, row of an earlier one) among `rows` that are near-duplicates and no duplicates."""
    for row in rows:
        others = rows[places[rows, 0] < places[row, 0]]
        if not len(others):
            continue
        others = others[_ONES[hashes[others] ^ hashes[row]].sum(axis=1) <= FAR_BITS]
        difference = thumbnails[others].astype(np.float32) - thumbnails[row].astype(np.float32)
        difference -= difference.mean(axis=1, keepdims=True)
        for other in others[np.abs(difference).mean(axis=1) <= FAR_PIXELS]:
            yield int(row), int(other)


def _gathered(splits: list[Split]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places, hashes and thumbnails of all images that can be read and show more than one even colour.

    Images whose twin with the very same pixels is in another split are told as leaks, and left out here.
    """
    home: dict[bytes, set[int]] = defaultdict(set)
    for number, split in enumerate(splits):
        for seen in split.seen:
            home[seen.pixels].add(number)
    places = [
        (number, row)
        for number, split in enumerate(splits)
        for row, seen in enumerate(split.seen)
        if not seen.fault and len(home[seen.pixels]) == 1
    ]
    hashes = np.array([np.frombuffer(splits[a].seen[b].gradients, dtype=np.uint8) for a, b in places])
    thumbnails = np.array([np.frombuffer(splits[a].seen[b].thumbnail, dtype=np.uint8) for a, b in places])
    if not places:
        return np.zeros((0, 2), dtype=np.int64), hashes, thumbnails
    detailed = thumbnails.std(axis=1) > _FEATURELESS
    return np.array(places)[detailed], hashes[detailed], thumbnails[detailed]
