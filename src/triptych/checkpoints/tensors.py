"""Tensors to the safetensors format and back, without a copy of the whole in between.

Written by hand (the format is a length, a JSON header and raw bytes), because the library's writer refuses tied and
non-contiguous tensors, copies everything first, and can neither fsync nor hash what it writes. Read by the library.
Format: https://github.com/huggingface/safetensors#format
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from torch import Tensor

from triptych.errors import UserError
from triptych.parallel.pieces import Part

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
ALIGNMENT = 8


def check_tensor(name: str, tensor: object) -> None:
    """Refuse, by name, what has no plain bytes: before anything is written.

    Raises:
        UserError: not a dense strided tensor of a safetensors dtype on a real device.
    """
    if not isinstance(tensor, Tensor):
        raise UserError(f"{name} is a {type(tensor).__name__}; only tensors can be stored there")
    if type(tensor) not in (Tensor, torch.nn.Parameter, torch.nn.Buffer):
        raise UserError(f"{name} is a {type(tensor).__name__}: gather it to a plain tensor before saving")
    if tensor.layout is not torch.strided or tensor.dtype not in DTYPES or tensor.device.type == "meta":
        raise UserError(
            f"{name} is a {tensor.layout} tensor of {tensor.dtype} on {tensor.device}; "
            f"a checkpoint stores dense tensors of {', '.join(sorted(DTYPES.values()))}"
        )


def safetensors_chunks(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file: the header, then each tensor, copied one at a time and only where it must be.

    Tied tensors are written once per name, so that any reader of the format finds every name.
    """
    # Largest element first keeps every tensor aligned to its own element size.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in ordered:
        if name in header:
            raise UserError(f"a tensor cannot be named {name!r}: the safetensors format keeps that name for itself")
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    yield len(text).to_bytes(8, "little")
    yield text
    for _, tensor in ordered:
        if tensor.numel():
            yield _bytes_of(tensor)


def _bytes_of(tensor: Tensor) -> memoryview:
    if sys.byteorder != "little":
        raise UserError("checkpoints are little-endian; this machine is not")
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return plain.reshape(-1).view(torch.uint8).numpy().data


def byte_count(tensors: Mapping[str, Tensor | Part]) -> int:
    """Bytes that the tensors take in a file, or what is here of them."""
    return sum((each.local if isinstance(each, Part) else each).nbytes for each in tensors.values())


def read_safetensors(path: Path, content: bytes) -> dict[str, Tensor]:
    """Parse a safetensors file's bytes; every tensor on CPU in memory of its own.

    Raises:
        UserError: not a sound safetensors file.
    """
    try:
        return parse(content)
    except (
        SafetensorError,
        AttributeError,
        KeyError,
        MemoryError,
        OverflowError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise UserError(f"{path} is no readable safetensors file: {error}") from error
