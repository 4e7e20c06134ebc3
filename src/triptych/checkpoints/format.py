"""Triptych's checkpoint: a folder of safetensors and JSON whose manifest is written last.

model.safetensors     the model's weights under their plain names (Lightning's `model.` prefix removed)
ema.safetensors       their moving average, same names, where there is one
training.safetensors  every other tensor: optimizer moments, RNG states, buffers outside the model
state.json            the rest of Lightning's checkpoint, which points into training.safetensors
config.json           the model's config, classes, preprocess
manifest.json         format version, SHA-256 and size of each file

Where several processes hold the model together, each writes its own shards of the tensors: see `shards`.
"""

import errno
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import __version__ as lightning_version
from torch import Tensor

from triptych.checkpoints.encode import Encoder, decode
from triptych.checkpoints.files import (
    Written,
    free_bytes,
    make_folder,
    megabytes,
    new_folder,
    shared_staging,
    write_file,
)
from triptych.checkpoints.manifest import (
    CONFIG,
    EMA,
    MANIFEST,
    MODEL,
    SHARDS,
    STATE,
    TRAINING,
    DamagedError,
    manifest_text,
    read_checked,
    read_manifest,
)
from triptych.checkpoints.shards import join, read_joined, write_own
from triptych.checkpoints.tensors import byte_count, check_tensor, read_safetensors, safetensors_chunks
from triptych.errors import UserError
from triptych.parallel.pieces import Part
from triptych.plain import check_bounds

PREFIX = "model."
# Room for the headers, the manifest and the file system's own blocks beside the tensors' and the JSON's bytes.
SPARE_BYTES = 1 << 20


@dataclass(frozen=True)
class Packed:
    """What the files of a checkpoint will hold: tensors by name, or bytes, by the name of the file."""

    files: dict[str, dict[str, Any] | bytes]
    facts: dict[str, Any]

    @property
    def tensors(self) -> dict[str, dict[str, Any]]:
        """The files that hold tensors."""
        return {name: part for name, part in self.files.items() if isinstance(part, dict)}

    @property
    def texts(self) -> dict[str, bytes]:
        """The other files."""
        return {name: part for name, part in self.files.items() if isinstance(part, bytes)}

    @property
    def size(self) -> int:
        """Bytes of what this process holds of it."""
        return sum(map(byte_count, self.tensors.values())) + sum(map(len, self.texts.values()))

    def copied(self) -> "Packed":
        """The same in memory of its own on the CPU, for training to go on while it is written."""
        copies: dict[int, Any] = {}  # a tensor under several names is copied once
        files: dict[str, Any] = {
            name: {key: copies.setdefault(id(leaf), _copy(leaf)) if id(leaf) not in copies else copies[id(leaf)]
                   for key, leaf in part.items()}
            for name, part in self.tensors.items()
        }  # fmt: skip
        return Packed({**files, **self.texts}, self.facts)


def pack(checkpoint: Mapping[str, Any]) -> Packed:
    """Lightning's checkpoint dict as files; `checkpoint["ema"]` (plain weight name -> tensor) and
    `checkpoint["triptych"]["config"]` (plain containers) get files of their own.

    Raises:
        UserError: something in `checkpoint` cannot be stored.
    """
    facts = {
        "step": int(checkpoint.get("global_step", 0)),
        "epoch": int(checkpoint.get("epoch", 0)),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "lightning": lightning_version},
    }
    return Packed(_split(checkpoint), facts)


def write_checkpoint(folder: Path, checkpoint: Mapping[str, Any]) -> None:
    """`pack` and `write_packed` in one."""
    write_packed(folder, pack(checkpoint))


def write_packed(folder: Path, packed: Packed) -> None:
    """Write a checkpoint as a new folder; durable, file and folder, when this returns.

    Fails whole: on any error the temporary folder is gone and other checkpoints are untouched.

    Raises:
        UserError: `folder` exists, or the disk is full or failing.
    """
    with _told(folder, packed), new_folder(folder) as staging:
        written: dict[str, Written] = {}
        for name, part in packed.files.items():
            chunks = safetensors_chunks(part) if isinstance(part, dict) else [part]
            written[name] = write_file(staging / name, chunks)
        write_file(staging / MANIFEST, [manifest_text(written, packed.facts).encode()])


def write_together(folder: Path, packed: Packed, rank: int, world_size: int, patience: float) -> None:
    """`write_packed` by several processes, each of which calls it with what it holds; durable when it returns in the
    first. They must see the same folder.

    Raises:
        UserError: see `write_packed`; in the first process also where another failed, or took over `patience` seconds.
    """
    staging = shared_staging(folder)
    with _told(folder, packed):
        if rank > 0:
            make_folder(folder.parent)
            staging.mkdir(exist_ok=True)
            write_own(staging, packed.tensors, rank)
            return
        with new_folder(folder, staging):
            write_own(staging, packed.tensors, rank)
            written = join(staging, world_size, patience)
            for name, text in packed.texts.items():
                written[name] = write_file(staging / name, [text])
            write_file(staging / MANIFEST, [manifest_text(written, packed.facts).encode()])


@contextmanager
def _told(folder: Path, packed: Packed) -> Iterator[None]:
    """Tells what the machine refused, in a user's words."""
    needed, free = packed.size + SPARE_BYTES, free_bytes(folder.parent)
    if needed > free:
        raise UserError(_full_disk(folder, needed, free))
    try:
        yield
    except OSError as error:
        raise save_failed(folder, error, needed) from error


def _copy(leaf: Tensor | Part) -> Tensor | Part:
    if isinstance(leaf, Part):
        return Part(leaf.local.detach().to("cpu", copy=True), leaf.layout)
    return leaf.detach().to("cpu", copy=True)


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """The checkpoint dict that `write_checkpoint` was given, tensors on CPU; every file is verified before it is used.

    Raises:
        UserError: no checkpoint of ours, or damaged; the message names the file.
    """
    manifest = read_manifest(folder)
    training = read_weights(folder, TRAINING)
    tree = _json(folder / STATE, read_checked(folder, STATE, manifest))
    model = read_weights(folder, MODEL)
    ema = read_weights(folder, EMA) if has_weights(folder, EMA) else None
    try:
        checkpoint = decode(tree["checkpoint"], training)
        if not isinstance(checkpoint, dict):
            raise ValueError(f"it holds a {type(checkpoint).__name__}, expected a mapping")
        if "state_dict" in checkpoint:
            checkpoint["state_dict"] = {
                key: model[key.removeprefix(PREFIX)] if in_model else decode(other, training)
                for key, in_model, other in tree["state_dict"]
            }
        if ema is not None:
            checkpoint["ema"] = {name: ema[name] for name in checkpoint["ema"]}
        if tree["has_config"]:
            checkpoint["triptych"]["config"] = read_config(folder)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DamagedError(f"{folder / STATE} does not fit the checkpoint's tensors: {error!r:.300}") from error
    return checkpoint


def read_weights(folder: Path, name: str) -> dict[str, Tensor]:
    """The tensors of `model.safetensors` or `ema.safetensors`, verified; put together where several processes wrote
    their own shards.
    """
    manifest = read_manifest(folder)
    if SHARDS not in manifest.files:
        return read_safetensors(folder / name, read_checked(folder, name, manifest))
    joined = read_joined(folder, name, manifest)
    if joined is None:
        raise DamagedError(f"{folder / SHARDS} has no part of {name}")
    return joined


def has_weights(folder: Path, name: str) -> bool:
    """Whether a checkpoint holds `ema.safetensors` or the like, whole or in shards."""
    manifest = read_manifest(folder)
    start = name.removesuffix(".safetensors") + "."
    return name in manifest.files or (SHARDS in manifest.files and any(n.startswith(start) for n in manifest.files))


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json`, verified: plain data, nothing in it is looked up or built here."""
    content = read_checked(folder, CONFIG, read_manifest(folder))
    try:
        config = decode(_json(folder / CONFIG, content), {})
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{folder / CONFIG} is none that Triptych wrote: {error!r:.300}") from error
    check_bounds(config, folder / CONFIG)
    if not isinstance(config, dict):
        raise UserError(f"{folder / CONFIG} holds a {type(config).__name__}, expected a mapping")
    return config


def _split(checkpoint: Mapping[str, Any]) -> dict[str, dict[str, Any] | bytes]:
    """The files' contents: tensors by name, or bytes."""
    rest = dict(checkpoint)
    model: dict[str, Any] = {}
    other_entries: dict[str, Any] = {}
    order: list[tuple[str, bool]] = []
    for key, value in rest.get("state_dict", {}).items():
        in_model = key.startswith(PREFIX) and isinstance(value, Tensor | Part)
        order.append((key, in_model))
        if in_model:
            model[key.removeprefix(PREFIX)] = value
        else:
            other_entries[key] = value
    if "state_dict" in rest:
        rest["state_dict"] = None
    ema = rest.get("ema")
    if ema is not None:
        rest["ema"] = list(ema)
    extra = dict(rest.get("triptych", {}))
    has_config = "config" in extra
    config = extra.get("config", {})
    if has_config:
        rest["triptych"] = extra | {"config": None}

    encoder = Encoder()
    config_tree = encoder.encode(config, "checkpoint['triptych']['config']")
    if encoder.tensors or not isinstance(config, dict):
        raise UserError("checkpoint['triptych']['config'] must be a mapping of plain data without tensors")
    others = encoder.encode(other_entries, "checkpoint['state_dict']")
    tree = {
        "checkpoint": encoder.encode(rest, "checkpoint"),
        "state_dict": [[key, in_model, None if in_model else others[key]] for key, in_model in order],
        "has_config": has_config,
    }
    for name, tensors in ((MODEL, model), (EMA, ema or {})):
        for key, tensor in tensors.items():
            check_tensor(f"{key} of {name}", tensor.local if isinstance(tensor, Part) else tensor)
    averaged = {} if ema is None else {EMA: dict(ema)}
    return {
        MODEL: model,
        **averaged,
        TRAINING: encoder.tensors,
        STATE: _dump(tree),
        CONFIG: _dump(config_tree, indent=2),
    }


def _dump(tree: Any, indent: int | None = None) -> bytes:
    return json.dumps(tree, allow_nan=False, indent=indent).encode()


def _json(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} holds no readable JSON: {error}") from error


def save_failed(folder: Path, error: OSError, needed: int) -> UserError:
    """What a user must know when the machine refused a save: why, and that the last checkpoint is whole."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(_full_disk(folder, needed, free_bytes(folder.parent)))
    return UserError(
        f"cannot save a checkpoint in {folder.parent}: {error.strerror or error}. {last_whole(folder.parent)}"
    )


def _full_disk(folder: Path, needed: int, free: int) -> str:
    return (
        f"no room for a checkpoint in {folder.parent}: it needs {megabytes(needed)}, {megabytes(free)} are free. "
        f"{last_whole(folder.parent)}; free some space (or lower checkpoint.keep) and resume"
    )


def last_whole(folder: Path) -> str:
    """Which checkpoint of a folder of checkpoints is whole, as a sentence."""
    last = folder / "last"
    if last.is_symlink():
        return f"The last checkpoint is whole: {folder / os.readlink(last)}"
    return "No checkpoint had been saved in this folder before"
