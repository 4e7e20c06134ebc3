"""Files whose names say what they show: labels, folds and splits by a pattern."""

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from triptych.data import columns, labels
from triptych.data.files import read_sample_file, require_folder
from triptych.data.folder import files_in, other_files
from triptych.data.folds import FOLD, Folds, fold_names
from triptych.data.medium import Medium, Pictures
from triptych.data.split import check_split, stratified
from triptych.errors import UserError

log = logging.getLogger("triptych.data")

GROUPS = ("label", FOLD, "split")


class PatternSource:
    """Files at any depth of a folder, such as `7_jackson_32.wav` for the pattern `(?P<label>\\d)_(?P<fold>[a-z]+)_`.

    The pattern is a regular expression that is looked for in each path below the folder. Its group `label` is the
    class; `fold`, where it has one, is what `folds` holds out; `split`, where it has one, names the split. Without
    either, a fixed part of each class is held back for validation: the same part in every run, and the log says so.

    Args:
        root: the folder.
        pattern: with a group `(?P<label>...)`.
        split: `train`, `validation` or `test`.
        folds: what is held out.
        validation_fraction: part of each class to hold back where nothing says what is for validation.
        classes: class names, where they are not those that occur.
        channels: 3 for RGB, 1 for grey.
        medium: what the files hold; None: pictures.

    Raises:
        UserError: no such folder, no pattern, no file that it fits; no such fold or split.
    """

    multilabel = False
    folds: Sequence[str] = ()
    """The folds that occur, where one is held out."""

    def __init__(
        self,
        root: str,
        pattern: str,
        split: str = "train",
        folds: Folds | None = None,
        validation_fraction: float | int = 0.1,
        classes: Sequence[str] | None = None,
        channels: int = 3,
        medium: Medium | None = None,
    ) -> None:
        check_split(split, validation_fraction)
        self.medium = medium or Pictures(channels)
        base = require_folder(root, f"{self.medium.one} folder")
        found = _matches(str(base), pattern, self.medium)
        every = [path for path, _ in found]
        values: dict[str, list[str]] = {name: [groups.get(name) or "" for _, groups in found] for name in GROUPS}

        def where(row: int) -> str:
            return every[row]

        made = labels.single(values["label"], "the group (?P<label>...)", where, classes)
        if folds:
            if not any(values[FOLD]):
                raise UserError(
                    f"folds.held_out={folds.held_out}, but the pattern {pattern!r} has no group (?P<fold>...)"
                )
            splits = folds.splits(values[FOLD], where)
            self.folds = fold_names(values[FOLD])
        elif any(values["split"]):
            splits = columns.splits(values["split"], "the group (?P<split>...)", where)
        else:
            if split == "test":
                raise UserError(
                    f"{base.resolve()} has no split 'test': the pattern {pattern!r} has no group (?P<split>...)"
                )
            held = stratified(made.groups(), validation_fraction)
            splits = ["validation" if each else "train" for each in held]
            log.info(
                "nothing says which files of %s are for validation: %d of %d (%g of each class, always the same ones)",
                base, held.sum(), len(held), validation_fraction,
            )  # fmt: skip
        rows = np.flatnonzero([each == split for each in splits])
        if not len(rows):
            raise UserError(f"{base.resolve()} has no {self.medium.many} for the split {split!r}")
        self._files = [every[row] for row in rows]
        self._labels = made.take(rows)
        self.classes = made.classes

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """Path of the file."""
        return self._files[index]

    def read(self, index: int) -> tuple[Tensor, int]:
        """Decoded image, uint8 `(channels, height, width)`, or waveform `(1, samples)`, and label of sample `index`.

        Raises:
            BadSample: the file cannot be read or decoded.
        """
        return self.medium.decode(self.encoded(index)), self.target(index)

    def encoded(self, index: int) -> bytes:
        """Bytes of the file; BadSample where it cannot be opened."""
        return read_sample_file(self._files[index])

    def target(self, index: int) -> int:
        """Label of sample `index`."""
        return int(self._labels.targets[index])


def _matches(base: str, pattern: str, medium: Medium) -> list[tuple[str, dict[str, str | None]]]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"pattern {pattern!r} is no regular expression: {error}") from error
    if "label" not in expression.groupindex:
        raise UserError(f"pattern {pattern!r} has no group for the class: write (?P<label>...) around it")
    files = files_in(require_folder(base, f"{medium.one} folder"), medium.extensions)
    if not files:
        raise UserError(
            f"no {medium.many} in {base}: files that end in {', '.join(medium.extensions)} are read"
            f"{other_files([Path(base)], medium)}"
        )
    found = [(path, match.groupdict()) for path in files if (match := expression.search(os.path.relpath(path, base)))]
    if not found:
        raise UserError(
            f"pattern {pattern!r} fits none of the {len(files)} {medium.many} in {base}, such as {files[0]}"
        )
    if len(found) < len(files):
        log.info("%d of %d %s of %s do not fit the pattern", len(files) - len(found), len(files), medium.many, base)
    return found
