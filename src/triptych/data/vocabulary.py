"""A tokenizer made for the captions of the training data."""

from collections.abc import Iterable

from triptych.errors import UserError
from triptych.features.word_tokenizer import WordTokenizer, words_of


class WordsOfCaptions:
    """Makes a `WordTokenizer` of the words that the training captions have: for small sets of plain captions.

    Args:
        context_length: tokens of a row, start and end included.
        clean: what captions are made of before they are cut into words, see `triptych.features.text.clean`.
        least: times that a word must occur to have a token.
        most: words, the most frequent ones; None: all.

    Raises:
        UserError: a number below its least.
    """

    def __init__(self, context_length: int = 32, clean: str = "lower", least: int = 1, most: int | None = None) -> None:
        if context_length < 2:
            raise UserError(f"data.tokenizer.context_length is {context_length}; start and end token alone take 2")
        if least < 1 or (most is not None and most < 1):
            raise UserError(f"data.tokenizer.least={least} and most={most} must both be at least 1")
        self.context_length, self.clean, self.least, self.most = context_length, clean, least, most

    def __call__(self, captions: Iterable[str]) -> WordTokenizer:
        """The tokenizer of these captions.

        Raises:
            UserError: they have no word that occurs often enough.
        """
        words = words_of(captions, self.clean, self.least, self.most)
        if not words:
            raise UserError(f"no word of the training captions occurs {self.least} times: lower data.tokenizer.least")
        return WordTokenizer(words, self.context_length, self.clean)
