"""A folder of images, one folder a class: the layout that people have."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from triptych.data.decode import EXTENSIONS, decode_image
from triptych.data.files import require_folder, suggest
from triptych.data.order import mixed_seed
from triptych.data.source import BadSample
from triptych.errors import UserError

log = logging.getLogger("triptych.data")

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Names that a split's folder may have."""


class FolderSource:
    """Images under `root/CLASS/...`, or under `root/train/CLASS/...`, `root/val/CLASS/...` and so on.

    Classes are the folders of the training split, in the order of their names; other splits are matched to them by
    name. Where there is no folder for validation, a fixed part of each class's training images is held back for it:
    the same part in every run, stratified, and the log says so. Files that are no images and hidden files are left
    out.

    Args:
        root: the folder.
        split: `train`, `validation` or `test`.
        validation_fraction: part of each class to hold back where there is no folder for validation.
        classes: class names, where they are not those of the training folder.
        channels: 3 for RGB, 1 for grey.

    Raises:
        UserError: no such folder or split, no class folders, a class without images.
    """

    multilabel = False

    def __init__(
        self,
        root: str,
        split: str = "train",
        validation_fraction: float | int = 0.1,
        classes: Sequence[str] | None = None,
        channels: int = 3,
    ) -> None:
        if split not in SPLIT_FOLDERS:
            raise UserError(f"split is {split!r}{suggest(split, list(SPLIT_FOLDERS))}")
        if not 0 < validation_fraction < 1:
            raise UserError(f"validation_fraction is {validation_fraction}; it must lie between 0 and 1")
        self.channels = channels
        base = require_folder(root, "image folder")
        train = _split_folder(base, "train") or base
        own = train if split == "train" else _split_folder(base, split)
        held_out = _split_folder(base, "validation")
        if split == "test" and own is None:
            raise UserError(
                f"{base.resolve()} has no folder for the split 'test' ({' or '.join(SPLIT_FOLDERS[split])})"
            )
        self.classes = list(classes) if classes is not None else _class_folders(train)
        files = _class_files(own or train, self.classes, complete=own == train or own is None)
        if held_out is None and split in ("train", "validation"):
            files = [
                _part(each, name, validation_fraction, split) for each, name in zip(files, self.classes, strict=True)
            ]
            log.info(
                "%s has no folder for validation: %d images (%g of each class, always the same ones) are the %s split",
                base,
                sum(map(len, files)),
                validation_fraction if split == "validation" else 1 - validation_fraction,
                split,
            )
        self._files = [path for each in files for path in each]
        self._labels = np.repeat(np.arange(len(files)), [len(each) for each in files])
        if not self._files:
            raise UserError(f"no images for the split {split!r} in {(own or train).resolve()}")

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """Path of the image file."""
        return self._files[index]

    def read(self, index: int) -> tuple[Tensor, int]:
        """Decoded image, uint8 `(channels, height, width)`, and label of sample `index`.

        Raises:
            BadSample: the file cannot be read or decoded.
        """
        try:
            data = Path(self._files[index]).read_bytes()
        except OSError as error:
            raise BadSample(f"cannot be opened: {error.strerror}") from error
        return decode_image(data, self.channels), int(self._labels[index])


def _folders(folder: Path) -> list[Path]:
    """Visible folders in `folder`, by name; `__MACOSX` and the like are what archive tools leave behind."""
    entries = (entry for entry in folder.iterdir() if entry.is_dir())
    return sorted(entry for entry in entries if not entry.name.startswith((".", "__")))


def _split_folder(base: Path, split: str) -> Path | None:
    for entry in _folders(base):
        if entry.name.lower() in SPLIT_FOLDERS[split]:
            return entry
    return None


def images_in(folder: Path) -> list[str]:
    """Image files at any depth of `folder`, in an order that no file system decides."""
    found = []
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            os.path.join(place, name)
            for name in sorted(files)
            if not name.startswith(".") and name.rpartition(".")[2].lower() in EXTENSIONS
        ]
    return found


def _class_folders(train: Path) -> list[str]:
    names = [entry.name for entry in _folders(train)]
    if not names:
        loose = sum(1 for entry in train.iterdir() if entry.suffix[1:].lower() in EXTENSIONS)
        raise UserError(
            f"{train.resolve()} has no class folders (and {loose} images of its own): put the images of each class "
            "into a folder that has the name of the class"
        )
    return names


def _class_files(folder: Path, classes: list[str], complete: bool) -> list[list[str]]:
    """Image files of each class.

    Args:
        folder: holds the class folders.
        classes: their names.
        complete: every class must have images; otherwise a class without any is only said in the log.
    """
    present = {entry.name: entry for entry in _folders(folder)}
    unknown = sorted(present.keys() - set(classes))
    if unknown:
        raise UserError(
            f"{folder.resolve()} has the class folder {unknown[0]!r}, which is none of the {len(classes)} classes"
            f"{suggest(unknown[0], classes)}"
        )
    files = [images_in(present[name]) if name in present else [] for name in classes]
    empty = [name for name, found in zip(classes, files, strict=True) if not found]
    if len(empty) == len(classes):
        raise UserError(
            f"no images in the {len(classes)} class folders of {folder.resolve()}: "
            f"files that end in {', '.join(EXTENSIONS)} are read"
        )
    if empty and complete:
        raise UserError(
            f"{len(empty)} of the {len(classes)} class folders of {folder.resolve()} have no images: "
            f"{', '.join(empty[:5])}; add images or remove these folders"
        )
    if empty:
        log.info("%s has no images of %d of the %d classes: %s", folder, len(empty), len(classes), ", ".join(empty[:5]))
    return files


def _part(files: list[str], name: str, fraction: float | int, split: str) -> list[str]:
    """The training or validation part of one class: drawn once by the class's name, never by the run's seed."""
    words = np.random.PCG64(mixed_seed(*name.encode())).random_raw(len(files))
    held = set(np.argsort(words, kind="stable")[: _held_count(len(files), fraction)].tolist())
    return [path for index, path in enumerate(files) if (index in held) == (split == "validation")]


def _held_count(count: int, fraction: float | int) -> int:
    """At least one image on either side where a class has two or more; a single image is for training."""
    return min(max(round(count * fraction), 1), count - 1)
