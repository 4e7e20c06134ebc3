"""Texts as their UTF-8 bytes: no vocabulary to train, and no text that it lacks a token for."""

from collections.abc import Sequence
from typing import Any

from triptych.features.text import check_cleaning, clean
from triptych.features.tokenizer import Tokens, rows_of

SPECIAL = 3


class ByteTokenizer:
    """Padding, start and end are 0, 1 and 2; byte b is b + 3. A text that is too long is cut, its end token kept."""

    vocab_size = 256 + SPECIAL
    pad_token, start_token, end_token = 0, 1, 2

    def __init__(self, context_length: int = 256, clean: str = "whitespace") -> None:
        if context_length < 2:
            raise ValueError(f"context_length is {context_length}; start and end token alone take 2.")
        self.context_length, self.clean = context_length, check_cleaning(clean)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """One row for each text."""
        return rows_of(map(self.encode, texts), self.context_length, self.start_token, self.end_token, self.pad_token)

    def encode(self, text: str) -> list[int]:
        """The ids of one text, without start and end, however many."""
        return [byte + SPECIAL for byte in clean(text, self.clean).encode()]

    def decode(self, ids: Sequence[int]) -> str:
        """The text that ids stand for; a letter that was cut through is shown as such."""
        return bytes(token - SPECIAL for token in ids if token >= SPECIAL).decode("utf-8", "replace")

    @property
    def config(self) -> dict[str, Any]:
        """A plain description."""
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return {"_target_": name, "context_length": self.context_length, "clean": self.clean}
