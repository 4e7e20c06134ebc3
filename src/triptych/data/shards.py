"""WebDataset shards as a map-style source: tars on a local disk, read at any place by `pread`, never extracted.

Compressed shards (`.tar.gz`) are unpacked in memory: many tiny members take twice their size as a plain tar.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from triptych.data.files import suggest
from triptych.data.medium import Medium, Pictures
from triptych.data.shard_store import LocalShards, gather
from triptych.data.source import BadSample
from triptych.errors import UserError
from triptych.plain import read_json

log = logging.getLogger("triptych.data")

LABEL_FILES = ("cls", "txt")
"""Members that hold a label as plain text. All that is ever decoded: these, `.json`, and those of the medium."""

PICKLED = ("pyd", "pickle", "pkl", "pt", "pth", "npy", "npz")
"""Members that can carry code, or arrays that can: never opened."""


MOST_CLASSES = 1 << 20


class ShardSource:
    """Images or sounds and labels in WebDataset tars: `key.webp|jpg|flac|...` beside `key.json`, `key.cls` or
    `key.txt`.

    Args:
        root: folder of the shards.
        shards: pattern of file names in it, such as `train-*.tar`; they are read in the order of their names. Those
            that end in `.tar.gz` are unpacked in memory.
        label: field of the `.json` member, or `cls` or `txt` for that member's text. A class name, a number that
            counts in `classes`, or, where `multilabel`, a list of either.
        classes: class names. None takes them from `info.json` in the folder (a list under `classes`, under the label's
            own name or under its plural), else from all labels that occur.
        multilabel: labels are lists; targets become float32 vectors of 0 and 1.
        channels: 3 for RGB, 1 for grey.
        medium: what the members hold; None: pictures.

    Raises:
        UserError: no such folder, no shard, no member of the medium, no such field, labels of the wrong kind, a broken
            tar.
    """

    def __init__(
        self,
        root: str,
        shards: str = "*.tar",
        label: str = "cls",
        classes: Sequence[str] | None = None,
        multilabel: bool = False,
        channels: int = 3,
        medium: Medium | None = None,
    ) -> None:
        if "://" in root or root.startswith("pipe:"):
            raise UserError(f"data root {root!r} is not a local folder: copy the shards to a disk of this machine")
        self._store = LocalShards(root, shards)
        self.paths = self._store.paths
        self.label = label
        self.multilabel = multilabel
        self.medium = medium or Pictures(channels)
        labels = [label if label in LABEL_FILES else "json"]
        self._samples = gather(self._store, (self.medium.extensions, labels), self.medium.many)
        kinds = {kind for index in self._store.indices for kind in index.kinds}
        pickled = sorted(kind for kind in kinds if kind.rpartition(".")[2] in PICKLED)
        if pickled:
            log.info("members of kind %s are never opened: they can carry code", ", ".join(pickled))
        first = self._first_label()
        self.classes = list(classes) if classes is not None else self._known_classes(self._store.folder)
        self._place = {name: index for index, name in enumerate(self.classes)}
        self._target(first)

    def __len__(self) -> int:
        return len(self._samples.table)

    def name(self, index: int) -> str:
        """`shard.tar/key` of sample `index`."""
        return f"{self.paths[self._samples.member(index, 0)[0]]}/{self._samples.key(index)}"

    def read(self, index: int) -> tuple[Tensor, int | Tensor]:
        """Decoded image, uint8 `(channels, height, width)`, or waveform `(1, samples)`, and label of sample `index`.

        Raises:
            BadSample: the image or the label of this sample cannot be read.
            UserError: the label is a class that is not in `classes`.
        """
        return self.medium.decode(self.encoded(index)), self.target(index)

    def encoded(self, index: int) -> bytes:
        """Bytes of the member of sample `index`; BadSample where the shard ends before."""
        return self._store.read(*self._samples.member(index, 0))

    def target(self, index: int) -> int | Tensor:
        """Label of sample `index`; BadSample where it has none, UserError where it is none of `classes`."""
        return self._target(self._label_value(index))

    def _label_value(self, index: int) -> Any:
        shard, offset, size = self._samples.member(index, 1)
        if offset < 0:
            raise BadSample(
                f"no member .{self.label if self.label in LABEL_FILES else 'json'} beside the {self.medium.one}"
            )
        data = self._store.read(shard, offset, size)
        try:
            text = data.decode("utf-8")
            if self.label == "txt":
                return text.strip()
            if self.label == "cls":
                return int(text) if text.strip().lstrip("-").isdecimal() else text.strip()
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadSample(f"label cannot be read: {error}") from error
        if not isinstance(fields, dict):
            raise BadSample(f"its .json holds a {type(fields).__name__}, expected fields by name")
        if self.label not in fields:
            raise BadSample(f"no field {self.label!r} in its .json{suggest(self.label, sorted(fields))}")
        return fields[self.label]

    def _first_label(self) -> Any:
        """A label that can be read, so that a wrong setting is told before training and not sample by sample."""
        reason = ""
        for index in range(min(len(self), 100)):
            try:
                value = self._label_value(index)
            except BadSample as error:
                reason = reason or f"{self.name(index)}: {error}"
                continue
            if isinstance(value, list) != self.multilabel:
                raise UserError(
                    f"label {self.label!r} of {self.name(index)} is {value!r} and multilabel is {self.multilabel}: "
                    f"set multilabel={not self.multilabel}, or choose another label"
                )
            return value
        raise UserError(f"none of the first {min(len(self), 100)} samples has the label {self.label!r}. {reason}")

    def _known_classes(self, folder: Path) -> list[str]:
        """Class names from `info.json`, else from every label that occurs."""
        info = folder / "info.json"
        if info.is_file():
            facts = read_json(info)
            for key in ("classes", self.label, f"{self.label}s"):
                names = facts.get(key) if isinstance(facts, dict) else None
                if isinstance(names, dict):
                    names = names.get(self.label)
                if isinstance(names, list) and all(isinstance(name, str) for name in names):
                    return names
        seen: set[str | int] = set()
        for index in range(len(self)):
            try:
                value = self._label_value(index)
            except BadSample:
                continue  # read() reports it when its turn comes
            entries = value if isinstance(value, list) else [value]
            seen.update(entry for entry in entries if isinstance(entry, str | int))
        numbers = [value for value in seen if isinstance(value, int)]
        if len(numbers) == len(seen):
            if (most := max(numbers, default=-1)) >= MOST_CLASSES:
                raise UserError(
                    f"label {self.label!r} has the value {most}, and numbers count classes from 0 on, {MOST_CLASSES:,} "
                    "at most: give the names in info.json, or choose another label"
                )
            return [str(number) for number in range(max(numbers, default=-1) + 1)]
        return sorted(str(value) for value in seen)

    def _target(self, value: Any) -> int | Tensor:
        """Label as a place in `classes`, or as a vector over them."""
        if self.multilabel:
            places = [self._class(entry) for entry in value] if isinstance(value, list) else None
            if places is None:
                raise BadSample(f"label {value!r} is no list")
            target = torch.zeros(len(self.classes))
            target[places] = 1.0
            return target
        return self._class(value)

    def _class(self, value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(self.classes):
            return value
        if isinstance(value, str) and value in self._place:
            return self._place[value]
        raise UserError(
            f"label {self.label!r} has the value {value!r}, which is none of the {len(self.classes)} classes"
            f"{suggest(str(value), self.classes)}"
        )
