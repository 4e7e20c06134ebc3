"""The manifest of a checkpoint folder: every file's SHA-256 and size, and a sum over itself.

It is written last, so a folder without one was never finished; and any byte that changes later, its own included, is
found before anything is used. The sums guard against damage, not against an author: whoever writes a folder can write
its manifest.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from triptych.checkpoints.files import Written
from triptych.errors import UserError

MANIFEST = "manifest.json"
FORMAT = "triptych-checkpoint"
VERSION = 1

MODEL = "model.safetensors"
EMA = "ema.safetensors"
TRAINING = "training.safetensors"
STATE = "state.json"
CONFIG = "config.json"
REQUIRED = frozenset({MODEL, TRAINING, STATE, CONFIG})
KNOWN = REQUIRED | {EMA}
# Of a checkpoint that several processes wrote.
SHARDS = "shards.json"
REQUIRED_SHARDED = frozenset({SHARDS, STATE, CONFIG})
SHARD_NAME = re.compile(r"(model|ema|training)\.\d{5}\.safetensors")

SHOWN_DIGITS = 12


@dataclass(frozen=True)
class Manifest:
    """What a verified manifest says: the files, and facts about the save (step, epoch, versions)."""

    files: Mapping[str, Written]
    facts: Mapping[str, Any]


class DamagedError(UserError):
    """A checkpoint folder that is not what was written; the message names the file and what differs."""


def manifest_text(files: Mapping[str, Written], facts: Mapping[str, Any]) -> str:
    """The manifest's one spelling: reading compares the whole text, so that no byte of it can change unseen."""
    body = {
        "format": FORMAT,
        "format_version": VERSION,
        "facts": dict(facts),
        "files": {name: {"sha256": files[name].sha256, "size": files[name].size} for name in sorted(files)},
    }
    text = json.dumps(body, indent=2)
    return json.dumps(body | {"sum": hashlib.sha256(text.encode()).hexdigest()}, indent=2) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of `folder`, checked in itself.

    Raises:
        UserError: `folder` is no checkpoint of this format, or of a newer version of it.
        DamagedError: the manifest is not as it was written.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DamagedError(f"{folder} has no {MANIFEST}: it is no Triptych checkpoint, or its save never finished")
    text = read_regular(path).decode("utf-8", errors="replace")
    damaged = DamagedError(f"{path} is damaged: its content does not match its own sum")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged from error
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise damaged
    if isinstance(body.get("format_version"), int) and body["format_version"] > VERSION:
        raise UserError(
            f"{folder} has checkpoint format version {body['format_version']}, this Triptych reads up to {VERSION}: "
            "update Triptych"
        )
    try:
        files = {str(name): Written(str(file["sha256"]), int(file["size"])) for name, file in body["files"].items()}
        facts = dict(body["facts"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged from error
    if manifest_text(files, facts) != text:
        raise damaged
    if SHARDS in files:
        whole = files.keys() >= REQUIRED_SHARDED
        whole &= all(SHARD_NAME.fullmatch(name) for name in files.keys() - REQUIRED_SHARDED)
    else:
        whole = REQUIRED <= files.keys() <= KNOWN
    if not whole:
        raise DamagedError(
            f"{path} lists {sorted(files)}; a checkpoint has {sorted(REQUIRED)} and may have "
            f"{sorted(KNOWN - REQUIRED)}; a sharded one has {sorted(REQUIRED_SHARDED)} and its shards"
        )
    return Manifest(files, facts)


def read_checked(folder: Path, name: str, manifest: Manifest) -> bytes:
    """The content of one file, exactly as it was written.

    Raises:
        DamagedError: it is missing, not a regular file, or its size or SHA-256 differs from the manifest's.
    """
    path, expected = folder / name, manifest.files[name]
    content = read_regular(path)
    if len(content) != expected.size:
        raise DamagedError(f"{path} is damaged: {len(content)} bytes, the manifest says {expected.size}")
    found = hashlib.sha256(content).hexdigest()
    if found != expected.sha256:
        raise DamagedError(
            f"{path} is damaged: SHA-256 {found[:SHOWN_DIGITS]}..., "
            f"the manifest says {expected.sha256[:SHOWN_DIGITS]}..."
        )
    return content


def verify(folder: Path) -> Manifest:
    """Read every file of `folder` and check it against the manifest.

    Raises:
        UserError: something differs (`DamagedError`), or the format is not ours.
    """
    manifest = read_manifest(folder)
    for name in manifest.files:
        path, expected = folder / name, manifest.files[name]
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if (found, size) != (expected.sha256, expected.size):
            raise DamagedError(
                f"{path} is damaged: {size} bytes with SHA-256 {found[:SHOWN_DIGITS]}..., "
                f"the manifest says {expected.size} bytes with {expected.sha256[:SHOWN_DIGITS]}..."
            )
    return manifest


def open_regular(path: Path) -> BufferedReader:
    """Open a file of a checkpoint for reading, never through a symlink (which could lead out of the run directory).

    Raises:
        DamagedError: it is missing, a link, or no regular file.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError as error:
        raise DamagedError(f"{path} is missing, though the checkpoint's manifest lists it") from error
    if not stat.S_ISREG(mode):
        raise DamagedError(f"{path} is a link or no regular file; a checkpoint holds plain files only")
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW))


def read_regular(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read()
