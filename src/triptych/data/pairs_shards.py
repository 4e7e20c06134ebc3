"""WebDataset shards of pictures with captions, in a local folder or behind a URL."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triptych.data.captions import Caption, Fields
from triptych.data.columns import require
from triptych.data.medium import Medium, Pictures
from triptych.data.pair_source import LOOKED_AT, check_captions, concepts
from triptych.data.remote_shards import RemoteShards
from triptych.data.shard_store import LocalShards, gather
from triptych.data.source import BadSample
from triptych.errors import UserError
from triptych.plain import check_bounds

_IMAGE, _JSON, _TEXT = range(3)

TEXT_FIELD = "txt"
"""The field that stands for the member `key.txt`."""


class ShardPairs:
    """Pictures and captions in WebDataset tars: `key.jpg|png|webp|...` beside `key.txt`, `key.json` or both.

    The fields of a sample are those of its `.json`, and `txt`, the text of its `.txt`.

    Shards behind a URL are read one after the other: an epoch goes through the shards in random order, and mixes the
    samples of `shards_at_once` of them at a time. Local ones are mixed all together. Either order is a function of seed
    and epoch alone.

    Args:
        root: folder of the shards, or a URL that fsspec knows (`s3://`, `gs://`, `https://`, `hf://`, `memory://`).
        caption: makes captions of the fields.
        shards: pattern of file names; `{000000..000099}` stands for numbers.
        concept: field that names what a sample shows; samples with one name are positives of each other. None: every
            sample is a concept of its own.
        channels: 3 for RGB, 1 for grey.
        medium: what the files hold; None: pictures.
        shards_at_once: shards behind a URL that are mixed at a time.
        keep_gb: 10^9 bytes of fetched shards to keep on the disk; 0 reads each sample by a request of its own.
        keep: folder for fetched shards; None: in the user's cache folder.

    Raises:
        UserError: no such folder, shard or field, no image, no caption, a broken tar, a URL that cannot be read.
    """

    multilabel = False

    def __init__(
        self,
        root: str,
        caption: Caption,
        shards: str = "*.tar",
        concept: str | None = None,
        channels: int = 3,
        medium: Medium | None = None,
        shards_at_once: int = 8,
        keep_gb: float | int = 20,
        keep: str | None = None,
    ) -> None:
        self.medium = medium or Pictures(channels)
        if shards_at_once < 1:
            raise UserError(f"shards_at_once is {shards_at_once}; it must be at least 1")
        if root.startswith("pipe:"):
            raise UserError(f"data root {root!r} would run a program: give a folder or a URL such as s3://bucket/path")
        if "://" in root:
            self._store = RemoteShards(root, shards, keep_gb, keep)
            self._store.check_room(shards_at_once)
        else:
            self._store = LocalShards(root, shards)
        self._samples = gather(self._store, (self.medium.extensions, ["json"], ["txt"]), self.medium.many)
        self.caption = caption
        self.shards_at_once = shards_at_once
        self.places = self._samples.table[:, 0] if self._store.remote else None
        self._check(root, concept)
        names = None if concept is None else [self._concept(index, concept) for index in range(len(self))]
        self.classes, self.ids = concepts(names, len(self))

    def __len__(self) -> int:
        return len(self._samples.table)

    def name(self, index: int) -> str:
        """`shard.tar/key` of sample `index`."""
        return f"{self._store.names[self._samples.member(index, _IMAGE)[0]]}/{self._samples.key(index)}"

    def read(self, index: int) -> tuple[Tensor, int]:
        """Decoded image, uint8 `(channels, height, width)`, or waveform `(1, samples)`, and concept of sample
        `index`.

        Raises:
            BadSample: the image cannot be read or decoded.
        """
        return self.medium.decode(self.encoded(index)), int(self.ids[index])

    def encoded(self, index: int) -> bytes:
        """Bytes of the image member of sample `index`; BadSample where they cannot be had."""
        return self._store.read(*self._samples.member(index, _IMAGE))

    def target(self, index: int) -> int:
        """Concept of sample `index`."""
        return int(self.ids[index])

    def draw_caption(self, index: int, generator: torch.Generator) -> str:
        """A caption of sample `index` for training."""
        return self.caption.draw(self._fields(index), generator)

    def captions(self, index: int) -> list[str]:
        """All captions of sample `index`."""
        return self.caption.all(self._fields(index))

    def corpus(self, index: int) -> list[str]:
        """Texts with every word that captions of sample `index` may have."""
        return self.caption.corpus(self._fields(index))

    def _fields(self, index: int) -> Fields:
        fields: dict[str, Any] = {}
        wanted = set(self.caption.fields)
        if wanted != {TEXT_FIELD}:
            fields = self._json(index)
        if TEXT_FIELD in wanted and (text := self._member(index, _TEXT)) is not None:
            fields[TEXT_FIELD] = text
        return fields

    def _json(self, index: int) -> dict[str, Any]:
        text = self._member(index, _JSON)
        if text is None:
            return {}
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadSample(f"its .json cannot be read: {error}") from error
        if not isinstance(fields, dict):
            raise BadSample("its .json holds no fields")
        try:
            check_bounds(fields, Path("its .json"))
        except UserError as error:
            raise BadSample(str(error)) from error
        return fields

    def _member(self, index: int, group: int) -> str | None:
        shard, offset, size = self._samples.member(index, group)
        if offset < 0:
            return None
        try:
            return self._store.read(shard, offset, size).decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadSample(f"its .{('json', 'txt')[group - 1]} is not UTF-8 text (byte {error.start})") from error

    def _concept(self, index: int, field: str) -> Any:
        try:
            value = self._json(index).get(field)
        except BadSample:
            return None  # nor can its caption be read: it is reported when its turn comes
        if isinstance(value, list | dict):
            raise UserError(f"{self.name(index)}: the field {field!r} holds {value!r}, not the name of a concept")
        return value

    def _check(self, root: str, concept: str | None) -> None:
        """Tells wrong fields before training."""
        known: set[str] = set()
        samples, reason = [], ""
        for index in range(min(len(self), LOOKED_AT)):
            try:
                fields = self._json(index)
                known.update(fields)
                samples.append(self._fields(index))
            except BadSample as error:
                reason = reason or f"{self.name(index)}: {error}"
        if np.any(self._samples.table[:, 1 + 2 * _TEXT] >= 0):
            known.add(TEXT_FIELD)
        if not known:
            raise UserError(f"{root}: the images have no .txt and no .json with fields beside them. {reason}".rstrip())
        for name in (*self.caption.fields, *([concept] if concept is not None else [])):
            require(root, name, sorted(known), "field")
        check_captions(root, self.caption, samples)
