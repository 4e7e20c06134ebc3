"""The tensors in PyTorch's archives, TorchScript's included, without running anything that they bring along.

An archive is a zip file with a pickle that names its tensors, whose bytes lie beside it. A TorchScript archive's pickle
also names classes whose code lies in the archive; here each of them stands for a plain holder of attributes.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
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


class Holder:
    """An object of a class that is not run: its attributes alone."""

    def __init__(self, *values: Any) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive: one that brings code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def names_of(path: Path) -> str:
    """The text of an archive's pickle, in which the names of its weights stand; empty for any other file."""
    if not zipfile.is_zipfile(path):
        return ""
    with zipfile.ZipFile(path) as archive:
        found = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        return archive.read(found).decode("latin-1") if found else ""


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """The tensors of a TorchScript archive by their dotted names; its code is not run, nor anything else that it names.

    Raises UserError where the archive is damaged, or holds what only its code could read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            file = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            root = _Reader(archive, file).load()
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(
            f"{path} is a TorchScript archive that cannot be read without running its code ({error}). Convert it where "
            "you trust it: torch.save(torch.jit.load(PATH, 'cpu').state_dict(), NEW)"
        ) from error
    return dict(_tensors(root, ""))


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
