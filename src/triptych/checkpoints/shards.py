"""Checkpoints that several processes write together: each its own shards, the first one the index of all.

model.00003.safetensors   what process 3 held of the model; so for ema and training
shards.json               for each tensor its type, its shape, and in which file which box of it lies

A shard is named after its tensor, with `#` and a number where a process held several boxes of one. Nothing is a pickle,
as the metadata of torch.distributed.checkpoint is. Processes meet in the folder itself: each leaves a note
when its shards are on disk, and the first waits for all of them, so no exchange between processes is in the way of
those of training.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from triptych.checkpoints.files import Written, write_atomic, write_file
from triptych.checkpoints.manifest import SHARDS, DamagedError, Manifest, read_checked
from triptych.checkpoints.tensors import DTYPES, read_safetensors, safetensors_chunks
from triptych.errors import UserError
from triptych.parallel.pieces import Part, Piece

Leaves = Mapping[str, Tensor | Part]

_NAMES = {text: dtype for dtype, text in DTYPES.items()}
_POLL = 0.02  # seconds


@dataclass(frozen=True)
class Box:
    """Where a box of a tensor is kept."""

    file: str
    key: str
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]


def write_own(staging: Path, tensors: Mapping[str, Leaves], rank: int) -> None:
    """Writes what this process holds of each file's tensors, then its note.

    Plain tensors are whole in every process; the first one writes them.

    Raises:
        OSError: the disk is full or failing; the note then says so, for the first process.
    """
    note = staging / _note_name(rank)
    try:
        index: dict[str, Any] = {}
        written: dict[str, Written] = {}
        for file, leaves in tensors.items():
            own = f"{file.removesuffix('.safetensors')}.{rank:05d}.safetensors"
            shards, index[file] = _shards(own, leaves, rank)
            written[own] = write_file(staging / own, safetensors_chunks(shards))
        content = {"index": index, "files": {name: asdict(each) for name, each in written.items()}}
    except OSError as error:
        write_atomic(note, json.dumps({"failed": error.strerror or str(error)}))
        raise
    write_atomic(note, json.dumps(content))


def join(staging: Path, world_size: int, patience: float) -> dict[str, Written]:
    """Waits until every process has left its note, then writes the index; all files so far.

    Raises:
        UserError: a process could not write its shards, or has not within `patience` seconds.
    """
    deadline = time.monotonic() + patience
    index: dict[str, Any] = {}
    files: dict[str, Written] = {}
    for rank in range(world_size):
        note = staging / _note_name(rank)
        while not note.exists():
            if time.monotonic() > deadline:
                raise UserError(
                    f"rank {rank} has not written its part of {staging.parent} within {patience:g} seconds "
                    "(trainer.timeout): it is lost, or does not see that folder"
                )
            time.sleep(_POLL)
        told = json.loads(note.read_text(encoding="utf-8"))
        if "failed" in told:
            raise UserError(f"rank {rank} could not write its part of a checkpoint: {told['failed']}")
        files |= {name: Written(**each) for name, each in told["files"].items()}
        for file, tensors in told["index"].items():
            for name, entry in tensors.items():
                known = index.setdefault(file, {}).setdefault(name, entry | {"boxes": []})
                known["boxes"] += entry["boxes"]
    files[SHARDS] = write_file(staging / SHARDS, [json.dumps(index).encode()])
    for rank in range(world_size):
        (staging / _note_name(rank)).unlink()
    return files


def read_joined(folder: Path, name: str, manifest: Manifest) -> dict[str, Tensor] | None:
    """The whole tensors of `model.safetensors` or the like, each file verified; None where the checkpoint has none.

    Raises:
        UserError: damaged, or the shards do not make up the tensors.
    """
    path = folder / SHARDS
    try:
        index = json.loads(read_checked(folder, SHARDS, manifest)).get(name)
        if index is None:
            return None
        boxes = {key: _checked(key, entry, manifest) for key, entry in index.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{path} holds no index of shards: {error!r:.300}") from error
    whole = {key: torch.empty(shape, dtype=dtype) for key, (dtype, shape, _) in boxes.items()}
    for file in sorted({box.file for _, _, found in boxes.values() for box in found}):
        shards = read_safetensors(folder / file, read_checked(folder, file, manifest))
        for key, (dtype, _, found) in boxes.items():
            for box in found:
                if box.file != file:
                    continue
                shard = shards.get(box.key)
                if shard is None or tuple(shard.shape) != box.sizes or shard.dtype != dtype:
                    raise DamagedError(f"{folder / file} does not hold the part of {key} that {path} says")
                Piece((0,) * len(box.sizes), box.offsets, box.sizes).of_whole(whole[key]).copy_(shard)
    return whole


def _checked(key: str, entry: Mapping[str, Any], manifest: Manifest) -> tuple[torch.dtype, tuple[int, ...], list[Box]]:
    dtype, shape = _NAMES[entry["dtype"]], _numbers(entry["shape"])
    boxes = [Box(str(b["file"]), str(b["key"]), _numbers(b["offsets"]), _numbers(b["sizes"])) for b in entry["boxes"]]
    for box in boxes:
        ends = [start + size for start, size in zip(box.offsets, box.sizes, strict=True)]
        if box.file not in manifest.files or len(ends) != len(shape):
            raise ValueError(f"a part of {key} is not there")
        if any(end > size for end, size in zip(ends, shape, strict=True)):
            raise ValueError(f"a part of {key} lies outside of it")
    # Before memory is taken for it: it cannot be larger than the files that it is said to lie in.
    if math.prod(shape) * dtype.itemsize > sum(manifest.files[file].size for file in {box.file for box in boxes}):
        raise ValueError(f"{key} is larger than its parts")
    filled = [box for box in boxes if math.prod(box.sizes)]
    if sum(math.prod(box.sizes) for box in filled) != math.prod(shape) or _overlap(filled):
        raise ValueError(f"the parts of {key} do not make up the whole")
    return dtype, shape, boxes


def _numbers(values: Any) -> tuple[int, ...]:
    """Sizes and places, as the index writes them: a list of whole numbers from 0 on that torch can count."""
    if not isinstance(values, list) or not all(type(value) is int and 0 <= value < 1 << 48 for value in values):
        raise ValueError(f"{values!r:.100} are no sizes")
    if math.prod(max(1, value) for value in values) >= 1 << 60:  # torch counts strides where there is no element, too
        raise ValueError(f"{values!r:.100} are too large")
    return tuple(values)


def _overlap(boxes: list[Box]) -> bool:
    """Whether two boxes share an element: then others, however large their sum is, would be left as memory was."""
    # In the order of their first rows, a box can only meet those that begin before it ends.
    ordered = sorted(boxes, key=lambda box: box.offsets)
    for place, box in enumerate(ordered):
        for other in ordered[place + 1 :]:
            if not box.offsets or other.offsets[0] >= box.offsets[0] + box.sizes[0]:
                break
            if all(
                there < start + size and start < there + wide
                for start, size, there, wide in zip(box.offsets, box.sizes, other.offsets, other.sizes, strict=True)
            ):
                return True
    return False


def _shards(file: str, leaves: Leaves, rank: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What this process writes, by key, and the index of it."""
    shards: dict[str, Tensor] = {}
    index: dict[str, Any] = {}
    for name, leaf in leaves.items():
        if isinstance(leaf, Tensor):
            found = {name: (leaf, (0,) * leaf.ndim)} if rank == 0 else {}
            shape, dtype = tuple(leaf.shape), leaf.dtype
        else:
            several = len(leaf.layout.pieces) > 1
            found = {
                f"{name}#{number}" if several else name: (piece.of_local(leaf.local), piece.there)
                for number, piece in enumerate(leaf.layout.pieces if leaf.layout.writes else ())
            }
            shape, dtype = leaf.layout.shape, leaf.local.dtype
        boxes = [asdict(Box(file, key, there, tuple(shard.shape))) for key, (shard, there) in found.items()]
        index[name] = {"dtype": DTYPES[dtype], "shape": shape, "boxes": boxes}
        shards |= {key: shard for key, (shard, _) in found.items()}
    return shards, index


def _note_name(rank: int) -> str:
    return f"note_{rank:05d}.json"
