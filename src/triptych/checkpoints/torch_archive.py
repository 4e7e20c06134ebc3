"""The tensors in PyTorch's archives, TorchScript's included, without running anything that they bring along.

An archive is a zip file with a pickle that names its tensors, whose bytes lie beside it. A TorchScript archive's pickle
also names classes whose code lies in the archive; here each of them stands for a plain holder of attributes.
"""

import io
import mmap
import pickle
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from triptych.errors import UserError

STORAGES = {
    "FloatStorage": torch.float32, "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64, "LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16,
    "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


SPARE = 1 << 26
"""Bytes: code and settings of an archive are compressed, and a tensor may have two names."""

_BYTEARRAY = b"builtins\nbytearray\n"

_DAMAGED = (OSError, ValueError, NotImplementedError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile)


class Holder:
    """An object of a class that is not run: its attributes alone."""

    def __init__(self, *values: Any) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


def check_archive(path: Path) -> None:
    """Looks at a file of weights before anything in it is unpacked.

    Raises UserError for a zip file that holds far more than its own size, as none that PyTorch wrote does: weights are
    not compressed in it, and nothing is in it twice. And for one call that needs no weights, but takes memory: that of
    `bytearray`, which torch lets through.
    """
    size = path.stat().st_size
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _refuse_memory(path, content.find(_BYTEARRAY) >= 0)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            unpacked = sum(entry.file_size for entry in entries)
            if unpacked > 2 * size + SPARE:
                raise UserError(
                    f"{path} has {size:,} bytes and says that it holds {unpacked:,}: weights are not compressed, so "
                    "this is a trap. Get the file again from where you trust it."
                )
            pickles = [archive.read(each) for each in entries if each.filename.endswith(".pkl")]
    except _DAMAGED as error:
        raise UserError(f"{path} is a damaged archive ({error}).") from error
    _refuse_memory(path, any(_BYTEARRAY in each for each in pickles))


def check_tensors(path: Path, tensors: Iterable[Any]) -> None:
    """Looks at what was read from a file of weights.

    Raises UserError for tensors that stand for more values than the file has, by a stride of 0 or by names without
    end for one of them.
    """
    found = [each for each in tensors if isinstance(each, Tensor) and each.layout is torch.strided]
    wide = any(each.numel() > each.untyped_storage().nbytes() // each.element_size() for each in found)
    if wide or sum(each.numel() * each.element_size() for each in found) > 4 * path.stat().st_size + SPARE:
        raise UserError(
            f"{path} names tensors of more values than it has bytes for. Save the model again as safetensors."
        )


def _refuse_memory(path: Path, called: bool) -> None:
    if called:
        raise UserError(
            f"{path} is refused: reading it would call bytearray, which takes any memory that it says. Save the model "
            "again as safetensors."
        )


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive: one that brings code."""
    return any("/code/" in name for name in _names(path))


def names_of(path: Path) -> str:
    """The text of an archive's pickle, in which the names of its weights stand; empty for any other file."""
    found = next((name for name in _names(path) if name.endswith("/data.pkl")), None)
    if found is None:
        return ""
    check_archive(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(found).decode("latin-1")
    except _DAMAGED:
        return ""


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """The tensors of a TorchScript archive by their dotted names; its code is not run, nor anything else that it names.

    Raises UserError where the archive is damaged, or holds what only its code could read.
    """
    check_archive(path)
    try:
        with zipfile.ZipFile(path) as archive:
            file = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            root = _Reader(archive, file).load()
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(
            f"{path} is a TorchScript archive that cannot be read without running its code ({error}). Convert it where "
            "you trust it: torch.save(torch.jit.load(PATH, 'cpu').state_dict(), NEW)"
        ) from error
    found = dict(_tensors(root, ""))
    check_tensors(path, found.values())
    return found


def _names(path: Path) -> list[str]:
    """Of what is in a zip file; none for any other file."""
    if not zipfile.is_zipfile(path):
        return []
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except _DAMAGED:
        return []


def _tensors(node: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(node, Holder):
        for name, value in node.attributes.items():
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", value
            else:
                yield from _tensors(value, f"{prefix}{name}.")


class _Reader(pickle.Unpickler):
    """Unpickles with what is listed here and nothing else."""

    def __init__(self, archive: zipfile.ZipFile, file: str) -> None:
        super().__init__(io.BytesIO(archive.read(file)))
        self.archive, self.folder = archive, file.removesuffix("data.pkl")

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Any] = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *rest: tensor,
            ("collections", "OrderedDict"): OrderedDict,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in STORAGES:
            return name
        if module.split(".")[0] == "__torch__":
            return type("Holder", (Holder,), {})
        if module == "torch.jit._pickle":
            return _listed
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        kind, storage, key, _, size = pid
        if kind != "storage" or storage not in STORAGES:
            raise pickle.UnpicklingError(f"it stores a {storage}")
        content = bytearray(self.archive.read(f"{self.folder}data/{key}"))
        dtype = STORAGES[storage]
        return torch.frombuffer(content, dtype=dtype, count=size) if size else torch.empty(0, dtype=dtype)


def _tensor(storage: Tensor, offset: int, size: Any, stride: Any, *rest: Any) -> Tensor:
    # A tensor of the archive may not reach outside its own bytes.
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if min((offset, *stride), default=0) < 0 or (0 not in tuple(size) and last >= len(storage)):
        raise ValueError("a tensor reaches outside its storage")
    return storage.as_strided(tuple(size), tuple(stride), offset)


def _listed(*values: Any) -> Any:
    """TorchScript's typed lists, and its marks of types, which say nothing here."""
    return values[0] if values else None
