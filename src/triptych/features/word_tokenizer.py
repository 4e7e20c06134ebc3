"""A token for each word of a small set of captions."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from triptych.features.text import check_cleaning, clean
from triptych.features.tokenizer import Tokens, rows_of

SPECIAL = ("<pad>", "<unknown>", "<start>", "<end>")
WORD = re.compile(r"\w+|[^\w\s]")


class WordTokenizer:
    """Padding, unknown, start and end are 0 to 3; the ``words`` follow, in the order given: see `words_of`. A text that
    is too long is cut, its end token kept.
    """

    pad_token, unknown_token, start_token, end_token = range(4)

    def __init__(self, words: Sequence[str], context_length: int = 32, clean: str = "lower") -> None:
        if context_length < 2:
            raise ValueError(f"context_length is {context_length}; start and end token alone take 2.")
        self.words, self.context_length, self.clean = list(words), context_length, check_cleaning(clean)
        self._ids = {word: number for number, word in enumerate(self.words, len(SPECIAL))}
        if len(self._ids) < len(self.words):
            twice = next(word for word, count in Counter(self.words).items() if count > 1)
            raise ValueError(f"The word {twice!r} is in the list of words twice.")

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        return len(SPECIAL) + len(self.words)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """One row for each text."""
        return rows_of(map(self.encode, texts), self.context_length, self.start_token, self.end_token, self.pad_token)

    def encode(self, text: str) -> list[int]:
        """The ids of one text, without start and end, however many."""
        return [self._ids.get(word, self.unknown_token) for word in split(text, self.clean)]

    def decode(self, ids: Sequence[int]) -> str:
        """The words that ids stand for, a space between."""
        known = [*SPECIAL, *self.words]
        return " ".join(
            known[token] for token in ids if token not in (self.pad_token, self.start_token, self.end_token)
        )

    @property
    def config(self) -> dict[str, Any]:
        """A plain description, all words included."""
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return {"_target_": name, "words": self.words, "context_length": self.context_length, "clean": self.clean}


def split(text: str, cleaning: str) -> list[str]:
    """Words and marks of punctuation."""
    return WORD.findall(clean(text, cleaning))


def words_of(captions: Iterable[str], clean: str = "lower", least: int = 1, most: int | None = None) -> list[str]:
    """The words of a corpus that occur ``least`` times or more, the ``most`` frequent of them, the most frequent first;
    words that are as frequent are in alphabetical order, so that the same captions give the same list.
    """
    counts = Counter(word for caption in captions for word in split(caption, clean))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [word for word, count in ordered if count >= least][:most]
