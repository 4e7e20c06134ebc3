"""SentencePiece models (Kudo and Richardson, 2018), such as the vocabularies of T5 that SigLIP has."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from triptych.errors import UserError
from triptych.features.json_tokenizer import LARGEST, pack, unpack
from triptych.features.text import check_cleaning, clean
from triptych.features.tokenizer import Tokens, rows_of
from triptych.plain import read_bytes

FILE = "spiece.model"


class SentencePieceTokenizer:
    """The pieces of a text and the end token, padded by ``pad_token`` (None: by the end token, as SigLIP has it); a
    text that is too long is cut, its end token kept. ``definition`` is the content of the model's file, packed: see
    `read_file`.

    Raises UserError where the sentencepiece package is missing, or the model has no end token.
    """

    def __init__(
        self, definition: str, context_length: int = 64, pad_token: int | None = None, clean: str = "canonical"
    ) -> None:
        try:
            import sentencepiece
        except ModuleNotFoundError as error:
            raise UserError(
                "this tokenizer needs the sentencepiece package: pip install 'triptych[sentencepiece]'"
            ) from error
        self.definition, self.context_length, self.clean = definition, context_length, check_cleaning(clean)
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=unpack(definition))
        except (RuntimeError, ValueError, zlib.error) as error:
            raise UserError(f"the definition is no SentencePiece model: {error}") from error
        self.end_token: int = self._model.eos_id()
        if self.end_token < 0:
            raise UserError("this SentencePiece model has no end token, which a text needs")
        self._given_pad = pad_token
        self.pad_token = self.end_token if pad_token is None else pad_token

    @property
    def vocab_size(self) -> int:
        """How many pieces there are."""
        return self._model.get_piece_size()

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """One row for each text."""
        return rows_of(map(self.encode, texts), self.context_length, None, self.end_token, self.pad_token)

    def encode(self, text: str) -> list[int]:
        """The ids of one text, without the end, however many."""
        return self._model.encode(clean(text, self.clean))

    def decode(self, ids: Sequence[int]) -> str:
        """The text that ids stand for."""
        special = (self.end_token, self.pad_token)
        return self._model.decode([int(token) for token in ids if token not in special])

    @property
    def config(self) -> dict[str, Any]:
        """A plain description, the model included."""
        return {
            "_target_": f"{type(self).__module__}.{type(self).__qualname__}",
            "definition": self.definition,
            "context_length": self.context_length,
            "pad_token": self._given_pad,
            "clean": self.clean,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.definition, self.context_length, self._given_pad, self.clean)


def read_file(
    path: str | Path, context_length: int = 64, pad_token: int | None = None, clean: str = "canonical"
) -> SentencePieceTokenizer:
    """The tokenizer of a SentencePiece model's file (``spiece.model``). Raises UserError where there is none."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is no file; expected a SentencePiece model, such as {FILE}")
    try:
        content = read_bytes(path, LARGEST)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    return SentencePieceTokenizer(pack(content), context_length, pad_token, clean)
