"""Nested training state to JSON and tensors, and back to the last bit, with no code in between.

A pickle can run anything when it is read; JSON and raw tensors cannot. What JSON lacks (integer keys, tuples,
infinities, bytes, numpy) is written as `{"$": kind, ...}`. An object that has no such form is refused by its path, at
the save, where it can still be mended, and not at the resume, where it could not.
"""

import base64
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triptych.checkpoints.tensors import check_tensor
from triptych.errors import UserError
from triptych.parallel.pieces import Part

KIND = "$"
# numpy kinds whose bytes are the whole value: not objects ("O"), not records ("V").
NUMPY_KINDS = frozenset("biufcSUmM")


def encode(state: Any, root: str = "checkpoint") -> tuple[Any, dict[str, Tensor]]:
    """Split nested `state` into a JSON tree and named tensors.

    Holds exactly: None, bool, int, float (infinities, NaN, -0.0), complex, str, bytes, list, tuple, set, frozenset,
    dict and OrderedDict with such keys, tensors, numpy arrays and scalars, torch dtype, device and Size. An enum
    becomes its plain value.

    Args:
        state: what to encode.
        root: how an error's path begins.

    Raises:
        UserError: something without such a form (a module, a config container, any other object, a cycle): its path
            is named.
    """
    encoder = Encoder()
    return encoder.encode(state, root), encoder.tensors


def decode(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `encode`; runs nothing that the tree names.

    Raises:
        ValueError: the tree is not one that `encode` writes, or names a tensor that is not there.
    """
    if isinstance(tree, list):
        return [decode(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if KIND not in tree:
        return {key: decode(value, tensors) for key, value in tree.items()}
    kind = tree[KIND]
    if not isinstance(kind, str) or kind not in _DECODERS:
        raise ValueError(f"unknown kind {kind!r}")
    try:
        return _DECODERS[kind](tree, tensors)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"broken {kind!r} entry: {error!r}") from error


class Encoder:
    """Encodes one or several states into JSON trees (`encode`) over one set of named `tensors`."""

    def __init__(self) -> None:
        self.tensors: dict[str, Any] = {}
        self._open: set[int] = set()

    def encode(self, value: Any, path: str) -> Any:
        """The JSON tree of `value`; `path` is what an error calls it."""
        if isinstance(value, Enum):
            return self.encode(value.value, path)
        if isinstance(value, np.generic):
            return self._numpy(np.asarray(value), path) | {KIND: "scalar"}
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {KIND: "float", "value": repr(value)}
        if type(value) is complex:
            return {KIND: "complex", "parts": [self.encode(value.real, path), self.encode(value.imag, path)]}
        if type(value) in (bytes, bytearray):
            return {KIND: type(value).__name__, "value": base64.b64encode(value).decode()}
        if isinstance(value, Tensor | Part):
            return {KIND: "tensor", "name": self._store(value, path)}
        if type(value) is np.ndarray:
            return self._numpy(value, path)
        if isinstance(value, torch.dtype):
            return {KIND: "dtype", "name": str(value).removeprefix("torch.")}
        if isinstance(value, torch.device):
            return {KIND: "device", "name": str(value)}
        return self._container(value, path)

    def _container(self, value: Any, path: str) -> Any:
        if id(value) in self._open:
            raise UserError(f"{path} holds itself; a checkpoint can only store a tree")
        self._open.add(id(value))
        try:
            if type(value) is list:
                return [self.encode(item, f"{path}[{index}]") for index, item in enumerate(value)]
            if type(value) in (tuple, torch.Size):
                kind = "tuple" if type(value) is tuple else "size"
                return {KIND: kind, "items": [self.encode(item, f"{path}[{i}]") for i, item in enumerate(value)]}
            if type(value) in (set, frozenset):
                items = sorted(value, key=repr)
                return {KIND: type(value).__name__, "items": [self.encode(item, f"{path}{{}}") for item in items]}
            if type(value) in (dict, OrderedDict):
                return self._mapping(value, path)
        finally:
            self._open.discard(id(value))
        raise UserError(
            f"{path} is a {type(value).__module__}.{type(value).__qualname__}, which a checkpoint cannot store: "
            "keep plain containers, numbers, strings and tensors there (a module's state_dict, a config as a dict)"
        )

    def _mapping(self, value: Mapping[Any, Any], path: str) -> Any:
        plain = type(value) is dict and all(type(key) is str for key in value) and KIND not in value
        items = [(key, self.encode(item, f"{path}[{key!r}]")) for key, item in value.items()]
        if plain:
            return dict(items)
        kind = "dict" if type(value) is dict else "ordered"
        return {KIND: kind, "items": [[self.encode(key, f"{path} key {key!r}"), item] for key, item in items]}

    def _numpy(self, value: np.ndarray, path: str) -> dict[str, Any]:
        if value.dtype.kind not in NUMPY_KINDS:
            raise UserError(f"{path} is a numpy array of dtype {value.dtype}, which has no plain bytes to store")
        content = bytearray(value.tobytes())
        tensor = torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
        name = self._store(tensor, path)
        return {KIND: "array", "dtype": value.dtype.str, "shape": list(value.shape), "name": name}

    def _store(self, tensor: Tensor | Part, path: str) -> str:
        check_tensor(path, tensor.local if isinstance(tensor, Part) else tensor)
        # A readable name; two paths may read the same (keys with dots), so the later one is numbered.
        base = path.partition("[")[2].replace("][", ".").replace("'", "").removesuffix("]") or "value"
        name, number = base, 1
        while name in self.tensors:
            number += 1
            name = f"{base}#{number}"
        self.tensors[name] = tensor
        return name


def _array(tree: dict[str, Any], tensors: Mapping[str, Tensor]) -> np.ndarray:
    dtype = np.dtype(tree["dtype"])
    if dtype.kind not in NUMPY_KINDS:
        raise ValueError(f"numpy dtype {dtype} has no plain bytes")
    return np.frombuffer(tensors[tree["name"]].numpy().tobytes(), dtype=dtype).reshape(tree["shape"]).copy()


def _dtype(tree: dict[str, Any], tensors: Mapping[str, Tensor]) -> torch.dtype:
    found = getattr(torch, tree["name"])
    if not isinstance(found, torch.dtype):
        raise ValueError(f"torch.{tree['name']} is no dtype")
    return found


def _items(tree: dict[str, Any], tensors: Mapping[str, Tensor]) -> list[Any]:
    return [decode(item, tensors) for item in tree["items"]]


def _pairs(tree: dict[str, Any], tensors: Mapping[str, Tensor]) -> list[tuple[Any, Any]]:
    return [(decode(key, tensors), decode(value, tensors)) for key, value in tree["items"]]


_DECODERS: dict[str, Callable[[dict[str, Any], Mapping[str, Tensor]], Any]] = {
    "float": lambda tree, tensors: float(tree["value"]),
    "complex": lambda tree, tensors: complex(*decode(tree["parts"], tensors)),
    "bytes": lambda tree, tensors: base64.b64decode(tree["value"], validate=True),
    "bytearray": lambda tree, tensors: bytearray(base64.b64decode(tree["value"], validate=True)),
    "tensor": lambda tree, tensors: tensors[tree["name"]],
    "array": _array,
    "scalar": lambda tree, tensors: _array(tree, tensors)[()],
    "dtype": _dtype,
    "device": lambda tree, tensors: torch.device(tree["name"]),
    "tuple": lambda tree, tensors: tuple(_items(tree, tensors)),
    "size": lambda tree, tensors: torch.Size(_items(tree, tensors)),
    "set": lambda tree, tensors: set(_items(tree, tensors)),
    "frozenset": lambda tree, tensors: frozenset(_items(tree, tensors)),
    "dict": lambda tree, tensors: dict(_pairs(tree, tensors)),
    "ordered": lambda tree, tensors: OrderedDict(_pairs(tree, tensors)),
}
