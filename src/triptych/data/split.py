"""Training, validation and test data told apart by name, and a validation part made where there is none."""

import numpy as np

from triptych.data.files import suggest
from triptych.data.order import mixed_seed
from triptych.errors import UserError

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Names that a split may have, as a folder, in a column or in a data set; in any case."""


def split_of(name: str) -> str | None:
    """`train`, `validation` or `test` where `name` is a name of one of them, in any case; else None."""
    plain = name.strip().lower()
    return next((split for split, names in SPLIT_NAMES.items() if plain in names), None)


def check_split(split: str, validation_fraction: float | int) -> None:
    """Raises UserError for a split that there is not, and for a fraction outside 0 to 1 (both excluded)."""
    if split not in SPLIT_NAMES:
        raise UserError(f"split is {split!r}{suggest(split, list(SPLIT_NAMES))}")
    if not 0 < validation_fraction < 1:
        raise UserError(f"validation_fraction is {validation_fraction}; it must lie between 0 and 1")


def held_out(count: int, name: str, fraction: float | int) -> np.ndarray:
    """Which of the `count` samples of the class `name` are held back for validation, as bool `(count,)`.

    Drawn once by the class's name, never by the run's seed, so that two runs are measured on the same samples. At least
    one sample lies on either side where a class has two or more; a single one is for training.
    """
    words = np.random.PCG64(mixed_seed(*name.encode())).random_raw(count)
    held = min(max(round(count * fraction), 1), count - 1)
    chosen = np.zeros(count, dtype=bool)
    chosen[np.argsort(words, kind="stable")[: max(held, 0)]] = True
    return chosen


def stratified(groups: list[str], fraction: float | int) -> np.ndarray:
    """Which samples are held back, the same share of each group, as bool `(samples,)`.

    Args:
        groups: name of the group that each sample belongs to, usually its class.
        fraction: share of each group, 0 to 1.
    """
    chosen = np.zeros(len(groups), dtype=bool)
    names, places = np.unique(np.array(groups, dtype=str), return_inverse=True)
    order = np.argsort(places, kind="stable")
    for name, rows in zip(names, np.split(order, np.cumsum(np.bincount(places))[:-1]), strict=True):
        chosen[rows] = held_out(len(rows), str(name), fraction)
    return chosen
