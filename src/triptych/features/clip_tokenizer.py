"""CLIP's tokenizer: byte-level byte-pair encoding of lower-case words (Radford et al., 2021), ids as open_clip has
them.

Words repeat, so each is cut once and looked up ever after. The rare new one is cut into pieces by Python's `regex`,
whose tables of Unicode are those of CLIP's own code, and pieces are merged by the `tokenizers` library.
"""

import gzip
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import regex
from tokenizers.models import BPE

from triptych.features.text import check_cleaning, words
from triptych.features.tokenizer import Tokens, ended_rows

VOCABULARY = Path(__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
MERGES = 49_152 - 256 - 2
WORD_END = "</w>"
SPECIAL = ("<start_of_text>", "<end_of_text>")
PIECES = regex.compile(
    "|".join(SPECIAL) + r"|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
)
# Words that are kept cut, so that a corpus of any size takes bounded memory: about 100 MB.
KEPT_WORDS, KEPT_LENGTH = 1 << 19, 32


class ClipTokenizer:
    """Start token, the pieces of the text, end token, padding by zeros. A text that is too long keeps its end token.

    ``clean`` is "lower" in CLIP, "canonical" where a model was trained so: see `triptych.features.text.clean`.
    """

    vocab_size = MERGES + 512 + 2
    start_token, end_token, pad_token = vocab_size - 2, vocab_size - 1, 0

    def __init__(self, context_length: int = 77, clean: str = "lower") -> None:
        if context_length < 2:
            raise ValueError(f"context_length is {context_length}; start and end token alone take 2.")
        self.context_length, self.clean = context_length, check_cleaning(clean)
        self._words = _Words(_cut)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """One row for each text."""
        # No piece reaches over a space. All words of all texts are looked up at one go.
        found: list[str] = []
        counts = [0]
        for text in texts:
            found += words(text, self.clean)
            counts.append(len(found))
        pieces = list(map(self._words.__getitem__, found))
        ends = np.zeros(len(pieces) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, pieces), np.int64, len(pieces)), out=ends[1:])
        sizes = np.diff(ends[counts])
        flat = np.fromiter(chain.from_iterable(pieces), np.int64, ends[-1])
        return ended_rows(flat, sizes, self.context_length, (self.start_token, self.end_token, self.pad_token))

    def encode(self, text: str) -> list[int]:
        """The ids of one text, without start and end, however many."""
        return [*chain.from_iterable(map(self._words.__getitem__, words(text, self.clean)))]

    def decode(self, ids: Sequence[int]) -> str:
        """The text that ids stand for, without start, end and padding."""
        _, pieces, back = _vocabulary()
        kept: list[str] = []
        for token in ids[1 if len(ids) and ids[0] == self.start_token else 0 :]:
            if token == self.end_token:
                break
            kept.append(pieces[token])
        text = bytes(back[character] for piece in kept for character in piece).decode("utf-8", "replace")
        return text.replace(WORD_END, " ").strip()

    @property
    def config(self) -> dict[str, Any]:
        """A plain description."""
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return {"_target_": name, "context_length": self.context_length, "clean": self.clean}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.context_length, self.clean)


class _Words(dict[str, tuple[int, ...]]):
    """The ids of each word; a new one is cut and, unless it is long, kept."""

    def __init__(self, cut: Callable[[str], tuple[int, ...]]) -> None:
        super().__init__()
        self.cut = cut
        self.update(_whole_words())

    def __missing__(self, word: str) -> tuple[int, ...]:
        ids = self.cut(word)
        if len(word) <= KEPT_LENGTH:
            if len(self) >= KEPT_WORDS:
                self.clear()
                self.update(_whole_words())
            self[word] = ids
        return ids


def _cut(word: str) -> tuple[int, ...]:
    model = _vocabulary()[0]
    letters, ids = _byte_letters(), []
    for piece in PIECES.findall(word):
        if piece in SPECIAL:
            ids.append(ClipTokenizer.start_token + SPECIAL.index(piece))
        else:
            ids += [token.id for token in model.tokenize("".join([letters[byte] for byte in piece.encode()]))]
    return tuple(ids)


@cache
def merges() -> list[tuple[str, str]]:
    """The pairs of pieces that become one, the earliest first."""
    with gzip.open(VOCABULARY, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : MERGES + 1]
    return [(first, second) for first, second in (line.split() for line in lines)]


@cache
def pieces() -> list[str]:
    """What each id stands for: the bytes, the bytes that end a word, what merges make, start and end."""
    letters = sorted(_byte_letters().items(), key=lambda item: (item[1] > "\xff", item[0]))
    single = [letter for _, letter in letters]
    return [*single, *(letter + WORD_END for letter in single), *map("".join, merges()), *SPECIAL]


@cache
def _vocabulary() -> tuple[BPE, list[str], dict[str, int]]:
    """What merges pieces, what each id stands for, and the byte of each letter."""
    ids = {piece: number for number, piece in enumerate(pieces())}
    model = BPE(vocab=ids, merges=merges(), end_of_word_suffix=WORD_END)
    return model, pieces(), {letter: byte for byte, letter in _byte_letters().items()}


@cache
def _whole_words() -> dict[str, tuple[int, ...]]:
    """The words of ASCII letters that are tokens themselves, as most words of most captions are."""
    named = (
        (piece.removesuffix(WORD_END), number) for number, piece in enumerate(pieces()) if piece.endswith(WORD_END)
    )
    return {word: (number,) for word, number in named if word.isascii() and word.isalpha() and word.islower()}


@cache
def _byte_letters() -> dict[int, str]:
    """A printable letter for each byte: itself where it is one in Latin-1, else one behind that."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in sorted(printable)} | {byte: chr(256 + i) for i, byte in enumerate(others)}
