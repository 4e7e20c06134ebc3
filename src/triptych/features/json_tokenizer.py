"""Any tokenizer that the `tokenizers` library runs, as transformers saves it (``tokenizer.json``)."""

import base64
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer as Backend

from triptych.errors import UserError
from triptych.features.text import check_cleaning, clean
from triptych.features.tokenizer import Tokens
from triptych.plain import read_bytes, read_json

DEFINITION = "tokenizer.json"
LARGEST = 1 << 28
"""Bytes of a definition; the largest vocabularies take a tenth of that."""
LONGEST = 1_000_000
"""Tokens of a text."""
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")


class JsonTokenizer:
    """A tokenizer by its ``definition``, the content of a ``tokenizer.json``, packed by `pack` so that it fits into a
    model's config. Start and end tokens are added as the definition says, and kept where a text is cut.

    ``pad_token`` fills the rows; ``end_token`` is the id that ends a text, None where none does. Raises ValueError
    where the definition cannot be read.
    """

    def __init__(
        self,
        definition: str,
        context_length: int,
        pad_token: int = 0,
        end_token: int | None = None,
        clean: str = "none",
    ) -> None:
        self.definition, self.context_length, self.clean = definition, context_length, check_cleaning(clean)
        self.pad_token, self.end_token = pad_token, end_token
        if not 0 < context_length <= LONGEST:
            raise ValueError(f"context_length is {context_length}; expected 1 to {LONGEST}")
        try:
            self._backend = Backend.from_str(unpack(definition).decode())
        except Exception as error:  # the library raises plain Exceptions
            raise ValueError(f"The definition is none that the tokenizers library reads: {error}") from error
        self._backend.enable_truncation(context_length)
        self._backend.enable_padding(length=context_length, pad_id=pad_token)

    @property
    def vocab_size(self) -> int:
        """How many ids there are, added tokens included."""
        return self._backend.get_vocab_size(with_added_tokens=True)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """One row for each text."""
        found = self._backend.encode_batch_fast([clean(text, self.clean) for text in texts])
        shape = len(found), self.context_length
        ids = np.array([encoding.ids for encoding in found], np.int64).reshape(shape)
        lengths = np.array([encoding.attention_mask for encoding in found], np.int64).reshape(shape).sum(1)
        return Tokens(torch.from_numpy(ids), torch.from_numpy(lengths))

    def decode(self, ids: Sequence[int]) -> str:
        """The text that ids stand for, without special tokens."""
        return self._backend.decode([int(token) for token in ids], skip_special_tokens=True)

    def save(self, path: Path) -> None:
        """Writes the ``tokenizer.json`` again, byte for byte."""
        path.write_bytes(unpack(self.definition))

    @property
    def config(self) -> dict[str, Any]:
        """A plain description, the definition included."""
        return {
            "_target_": f"{type(self).__module__}.{type(self).__qualname__}",
            "definition": self.definition,
            "context_length": self.context_length,
            "pad_token": self.pad_token,
            "end_token": self.end_token,
            "clean": self.clean,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.definition, self.context_length, self.pad_token, self.end_token, self.clean)


def read_folder(folder: str | Path, context_length: int | None = None, clean: str = "none") -> JsonTokenizer:
    """The tokenizer that transformers saved in a folder. ``context_length`` is the folder's ``model_max_length`` where
    it is None.

    Raises UserError where there is none, or it does not say how long a text may be.
    """
    folder = Path(folder)
    path = folder / DEFINITION
    if not path.is_file():
        raise UserError(
            f"{folder} has no {DEFINITION}; save the tokenizer anew with transformers, "
            "AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER), which writes one"
        )
    settings: dict[str, Any] = {}
    for name in reversed(SETTINGS):
        if (folder / name).is_file():
            found = read_json(folder / name)
            if not isinstance(found, dict):
                raise UserError(f"{folder / name} holds a {type(found).__name__}, expected settings by name")
            settings |= found
    length = context_length or settings.get("model_max_length")
    if not isinstance(length, int) or not 0 < length <= LONGEST:  # a huge number stands for "not known"
        raise UserError(f"{folder} does not say how many tokens a text may have; give context_length")
    try:
        content = read_bytes(path, LARGEST)
        backend = Backend.from_str(content.decode())
    except Exception as error:
        raise UserError(f"{path} is none that the tokenizers library reads: {error}") from error
    pad, end = (_id(backend, settings.get(f"{role}_token")) for role in ("pad", "eos"))
    added = backend.encode("").ids
    return JsonTokenizer(pack(content), length, pad or 0, end if end is not None and end in added else None, clean)


def pack(content: bytes) -> str:
    """Bytes as a short text, without characters that mean something in a configuration."""
    return base64.b64encode(zlib.compress(content, 9)).decode()


def unpack(text: str) -> bytes:
    """The inverse of `pack`. Raises ValueError where it is none of its results, or of more than `LARGEST` bytes."""
    packer = zlib.decompressobj()
    content = packer.decompress(base64.b64decode(text, validate=True), LARGEST)
    if packer.unconsumed_tail:
        raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
    if not packer.eof:
        raise ValueError("it is cut short")
    return content


def _id(backend: Backend, token: Any) -> int | None:
    text = token.get("content") if isinstance(token, dict) else token
    return backend.token_to_id(text) if isinstance(text, str) else None
