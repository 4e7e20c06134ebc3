"""A folder of images or sounds, one folder a class: the layout that people have."""

import logging
import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from triptych.data.decode import EXTENSIONS
from triptych.data.files import read_sample_file, require_folder, suggest
from triptych.data.medium import Medium, Pictures
from triptych.data.split import SPLIT_NAMES, check_split, held_out, split_of
from triptych.errors import UserError

log = logging.getLogger("triptych.data")


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
        medium: what the files hold; None: pictures.

    Raises:
        UserError: no such folder or split, no class folders, a class without files of the medium.
    """

    multilabel = False

    def __init__(
        self,
        root: str,
        split: str = "train",
        validation_fraction: float | int = 0.1,
        classes: Sequence[str] | None = None,
        channels: int = 3,
        medium: Medium | None = None,
    ) -> None:
        check_split(split, validation_fraction)
        self.medium = medium or Pictures(channels)
        base = require_folder(root, f"{self.medium.one} folder")
        folders = split_folders(base)
        train = folders.get("train") or base
        own = folders.get(split) or (train if split != "test" else None)
        if own is None:
            raise UserError(f"{base.resolve()} has no folder for the split 'test' ({' or '.join(SPLIT_NAMES['test'])})")
        if folders and "train" not in folders and not class_folders(base, folders.values()):
            raise UserError(
                f"{base.resolve()} has a folder for {' and '.join(folders)} and none for training "
                f"({' or '.join(SPLIT_NAMES['train'])})"
            )
        self.classes = list(classes) if classes is not None else _training_classes(train, folders.values(), self.medium)
        files = _class_files(own, folders.values(), self.classes, own == train, self.medium)
        if "validation" not in folders and split != "test":
            files = [
                part_of(each, name, validation_fraction, split) for each, name in zip(files, self.classes, strict=True)
            ]
            log.info(
                "%s has no folder for validation: %d %s (%g of each class, always the same ones) are the %s split",
                base,
                sum(map(len, files)),
                self.medium.many,
                validation_fraction if split == "validation" else 1 - validation_fraction,
                split,
            )
        self._files = [path for each in files for path in each]
        self._labels = np.repeat(np.arange(len(files)), [len(each) for each in files])
        if not self._files:
            raise UserError(f"no {self.medium.many} for the split {split!r} in {own.resolve()}")

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
        return int(self._labels[index])


def visible_folders(folder: Path) -> list[Path]:
    """Visible folders in `folder`, by name; `__MACOSX` and the like are what archive tools leave behind."""
    entries = (entry for entry in folder.iterdir() if entry.is_dir())
    return sorted(entry for entry in entries if not entry.name.startswith((".", "__")))


def split_folders(base: Path) -> dict[str, Path]:
    """The folders of `base` that hold a split, by the split.

    A folder whose name is a split's, but which holds no folders, is a class beside others: pictures of a `train`.

    Raises:
        UserError: two folders for one split.
    """
    folders = visible_folders(base)
    named = [folder for folder in folders if split_of(folder.name)]
    found: dict[str, Path] = {}
    for folder in named:
        if len(named) < len(folders) and not visible_folders(folder):
            continue
        split = split_of(folder.name) or ""
        if split in found:
            raise UserError(
                f"{base.resolve()} has two folders for {split}, {found[split].name!r} and {folder.name!r}: put their "
                "classes together or rename one"
            )
        found[split] = folder
    return found


def class_folders(folder: Path, splits: Iterable[Path] = ()) -> dict[str, Path]:
    """Folders in `folder` that are no `splits`, by name; accents composed, as some file systems do not."""
    return {unicodedata.normalize("NFC", each.name): each for each in visible_folders(folder) if each not in splits}


def files_in(folder: Path, extensions: Sequence[str] = EXTENSIONS) -> list[str]:
    """Files with these endings (of images, if nothing else is said) at any depth of `folder`, in an order that no file
    system decides.
    """
    found, seen = [], set()
    for place, folders, files in os.walk(folder, followlinks=True):
        # A link to a folder above, or two to one, would be gone through for ever.
        state = os.stat(place)
        if (state.st_dev, state.st_ino) in seen:
            folders[:] = []
            continue
        seen.add((state.st_dev, state.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            os.path.join(place, name)
            for name in sorted(files)
            if not name.startswith(".") and name.rpartition(".")[2].lower() in extensions
        ]
    return found


def _training_classes(train: Path, splits: Iterable[Path], medium: Medium) -> list[str]:
    names = sorted(class_folders(train, splits))
    if not names:
        loose = sum(1 for entry in train.iterdir() if entry.suffix[1:].lower() in medium.extensions)
        raise UserError(
            f"{train.resolve()} has no class folders (and {loose} {medium.many} of its own): put those of each class "
            "into a folder that has the name of the class"
        )
    return names


def _class_files(
    folder: Path, splits: Iterable[Path], classes: list[str], complete: bool, medium: Medium
) -> list[list[str]]:
    """Files of each class.

    Args:
        folder: holds the class folders.
        splits: folders in it that are no classes.
        classes: their names.
        complete: every class must have files; otherwise a class without any is only said in the log.
        medium: what they hold.
    """
    present = class_folders(folder, splits)
    unknown = sorted(present.keys() - set(classes))
    if unknown:
        raise UserError(
            f"{folder.resolve()} has the class folder {unknown[0]!r}, which is none of the {len(classes)} classes"
            f"{suggest(unknown[0], classes)}"
        )
    files = [files_in(present[name], medium.extensions) if name in present else [] for name in classes]
    empty = [name for name, found in zip(classes, files, strict=True) if not found]
    if len(empty) == len(classes):
        raise UserError(
            f"no {medium.many} in the {len(classes)} class folders of {folder.resolve()}: "
            f"files that end in {', '.join(medium.extensions)} are read{other_files(present.values(), medium)}"
        )
    if empty and complete:
        raise UserError(
            f"{len(empty)} of the {len(classes)} class folders of {folder.resolve()} have no {medium.many}: "
            f"{', '.join(empty[:5])}; add {medium.many} or remove these folders"
        )
    if empty:
        log.info(
            "%s has no %s of %d of the %d classes: %s",
            folder,
            medium.many,
            len(empty),
            len(classes),
            ", ".join(empty[:5]),
        )
    return files


def other_files(folders: Iterable[Path], medium: Medium) -> str:
    """End of a message: what there is instead, where somebody took sounds for images or the other way round."""
    endings = {
        name.rpartition(".")[2].lower()
        for folder in folders
        for _, _, files in os.walk(folder)
        for name in files
        if "." in name and not name.startswith(".")
    }
    found = sorted(endings - set(medium.extensions))
    return f"; there are files that end in {', '.join(found[:4])}" if found else ""


def part_of(files: list[str], name: str, fraction: float | int, split: str) -> list[str]:
    """The training or validation part of the files of the class `name`."""
    held = held_out(len(files), name, fraction)
    return [path for path, out in zip(files, held, strict=True) if out == (split == "validation")]
