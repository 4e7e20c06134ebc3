"""An image folder as it lies on the disk: what training reads of it, what it leaves out, and what is wrong with it."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from triptych.data.decode import EXTENSIONS, decode_image
from triptych.data.files import read_sample_file
from triptych.data.folder import class_folders, files_in, part_of, split_folders, visible_folders
from triptych.data.split import split_of
from triptych.doctor.findings import Finding, finding
from triptych.doctor.look import starts_as_image

OTHER_IMAGES = (
    "heic", "heif", "avif", "jxl", "jp2", "svg", "psd", "ico", "tga", "exr", "hdr", "dng", "cr2", "nef", "arw", "raw",
    "eps", "pdf", "jfif", "dcm", "npy",
)  # fmt: skip
"""File name endings of images that training does not read, lower case."""

_SYSTEM = ("thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r")


@dataclass(frozen=True)
class Listing:
    """Image files and their classes, as a source. Unlike `FolderSource` it takes every folder, with all its faults."""

    classes: list[str]
    files: list[str]
    places: list[int]
    multilabel: bool = False

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """Path of the file."""
        return self.files[index]

    def read(self, index: int) -> tuple[Tensor, int]:
        """Decoded image and label of sample `index`."""
        return decode_image(self.encoded(index)), self.target(index)

    def encoded(self, index: int) -> bytes:
        """Bytes of the file; BadSample where it cannot be opened."""
        return read_sample_file(self.files[index])

    def target(self, index: int) -> int:
        """Label of sample `index`."""
        return self.places[index]


def listings(root: Path, fraction: float) -> dict[str, Listing]:
    """The splits of an image folder, made as training makes them.

    Args:
        root: the folder.
        fraction: part of each class that is held back where there is no folder for validation.
    """
    folders = split_folders(root)
    train = class_folders(folders.get("train") or root, folders.values())
    found = {}
    for split in ("train", "validation", "test"):
        made = split == "validation" and "validation" not in folders
        if split in folders or split == "train" or made:
            own = train if split == "train" or made else class_folders(folders[split])
            found[split] = _listing(own, split if "validation" not in folders and split != "test" else "", fraction)
    return {split: listing for split, listing in found.items() if len(listing) or split == "train"}


def _listing(classes: dict[str, Path], part: str, fraction: float) -> Listing:
    files: list[str] = []
    places: list[int] = []
    names = sorted(classes)
    for place, name in enumerate(names):
        own = [path for path in files_in(classes[name]) if os.path.exists(path)]  # broken links are told of elsewhere
        if part:
            own = part_of(own, name, fraction, part)
        files += own
        places += [place] * len(own)
    return Listing(names, files, places)


def inspect_tree(root: Path) -> list[Finding]:
    """Faults of the layout: of folders, of names, and of files that training does not read."""
    folders = split_folders(root)
    parts = {split: class_folders(folder) for split, folder in folders.items()}
    if "train" not in parts:
        parts["train"] = class_folders(root, folders.values())
    return [*_no_classes(root, parts), *_empty(root, parts), *_nested(root, parts), *_strays(root, parts)]


def _no_classes(root: Path, parts: dict[str, dict[str, Path]]) -> list[Finding]:
    if parts["train"]:
        return []
    return finding(
        "no_classes", "error", "there are no class folders to train on", [str(root)],
        "put the images of each class into a folder that has the name of the class",
    )  # fmt: skip


def _empty(root: Path, parts: dict[str, dict[str, Path]]) -> list[Finding]:
    found: dict[bool, list[str]] = {True: [], False: []}
    for split, classes in parts.items():
        found[split == "train"] += [_short(path, root) for path in classes.values() if not files_in(path)]
    advice = f"add images that end in {', '.join(EXTENSIONS)}, or remove the folder"
    return [
        *finding(
            "empty_class", "error", "class folders for training without images: training stops", found[True], advice
        ),
        *finding("empty_class", "warning", "class folders for validation without images", found[False], advice),
    ]


def _nested(root: Path, parts: dict[str, dict[str, Path]]) -> list[Finding]:
    """Folders inside class folders: harmless where they sort the images of a class, not where they are classes."""
    known = {name.strip().lower() for classes in parts.values() for name in classes}
    deeper: list[str] = []
    classes_inside: list[str] = []
    for classes in parts.values():
        for path in classes.values():
            inside = [each for each in visible_folders(path) if files_in(each)]
            own = any(entry.suffix[1:].lower() in EXTENSIONS for entry in path.iterdir() if entry.is_file())
            named = [each for each in inside if each.name.strip().lower() in known or split_of(each.name)]
            suspects = inside if len(inside) > 1 and not own else named
            classes_inside += [_short(each, root) for each in suspects]
            deeper += [_short(each, root) for each in inside if each not in suspects]
    return [
        *finding(
            "class_inside_class", "warning",
            "folders inside a class folder look like classes or splits of their own; all their images count for the "
            "outer class", classes_inside,
            "where they are classes, move them one level up or set data.root to the folder that holds them",
        ),
        *finding(
            "nested_folder", "note", "folders inside a class folder; their images count for that class", deeper,
            "nothing to do where that is meant",
        ),
    ]  # fmt: skip


def _strays(root: Path, parts: dict[str, dict[str, Path]]) -> list[Finding]:
    """Every file and folder that training does not read, by the reason."""
    inside = {os.path.realpath(path) for classes in parts.values() for path in classes.values()}
    found: dict[str, list[str]] = {
        kind: [] for kind in ("locked", "broken", "hidden", "unsupported", "disguised", "loose", "other")
    }

    def locked(error: OSError) -> None:
        found["locked"].append(_short(Path(error.filename), root))

    walked: set[str] = set()
    for place, folders, files in os.walk(root, onerror=locked, followlinks=True):
        folder = Path(place)
        real = os.path.realpath(place)
        if real in walked:
            folders.clear()  # a link back to a folder above would never end
            continue
        walked.add(real)
        hidden = [name for name in folders if name.startswith((".", "__"))]
        found["hidden"] += [_short(folder / name, root) for name in sorted(hidden)]
        folders[:] = sorted(set(folders) - set(hidden))
        in_class = any(real == each or real.startswith(each + os.sep) for each in inside)
        for name in sorted(files):
            if (kind := _kind(folder / name, in_class)) is not None:
                found[kind].append(_short(folder / name, root))
    return _stray_findings(found)


def _kind(path: Path, in_class: bool) -> str | None:
    """Why a file is not read; None for one that is."""
    name, ending = path.name, path.suffix[1:].lower()
    if name.startswith(".") or name.lower() in _SYSTEM:
        return "hidden"
    if path.is_symlink() and not path.exists():
        return "broken"
    if ending in EXTENSIONS:
        return None if in_class else "loose"
    if ending in OTHER_IMAGES:
        return "unsupported"
    return "disguised" if in_class and starts_as_image(_head(path)) else "other"


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(12)
    except OSError:
        return b""


def _stray_findings(found: dict[str, list[str]]) -> list[Finding]:
    endings = Counter(Path(name).suffix.lower() for name in found["unsupported"]).most_common(3)
    listed = ", ".join(f"{count} {ending}" for ending, count in endings)
    return [
        *finding("locked_folder", "error", "folders that may not be opened", found["locked"],
                 "give yourself the right to read them (chmod u+rx)"),
        *finding("broken_link", "error", "links to files that are not there", found["broken"],
                 "copy the files, mend the links or remove them"),
        *finding("unsupported", "warning", f"images of formats that are not read ({listed}): left out",
                 found["unsupported"], f"convert them to one of {', '.join(EXTENSIONS)}"),
        *finding("disguised_image", "warning", "images whose file names do not end as those of images: left out",
                 found["disguised"], "give them their ending, such as .jpg"),
        *finding("loose_image", "warning", "images outside of the class folders: left out", found["loose"],
                 "move them into the folder of their class"),
        *finding("hidden", "note", "hidden or system files and folders: left out", found["hidden"], "nothing to do"),
        *finding("other_file", "note", "files that are no images: left out", found["other"], "nothing to do"),
    ]  # fmt: skip


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
