"""Tokenizers that are made of the training captions."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from triptych.errors import UserError
from triptych.features.json_tokenizer import JsonTokenizer, pack
from triptych.features.text import check_cleaning, clean
from triptych.features.tokenizer import Tokenizer
from triptych.features.word_tokenizer import WordTokenizer, words_of

PAD, START, END = "<pad>", "<start>", "<end>"
_BYTES = 256


@runtime_checkable
class TokenizerMaker(Protocol):
    """What stands in a model's configuration for a tokenizer that is yet to be made."""

    def of(self, captions: Iterable[str]) -> Tokenizer:
        """The tokenizer of these captions."""
        ...


class WordsOfCaptions:
    """Makes a `WordTokenizer` of the words that captions have: for small sets of plain captions.

    Args:
        context_length: tokens of a row, start and end included.
        clean: what captions are made of before they are cut into words, see `triptych.features.text.clean`.
        least: times that a word must occur to have a token.
        most: words, the most frequent ones; None: all.

    Raises:
        UserError: a number below its least.
    """

    def __init__(self, context_length: int = 32, clean: str = "lower", least: int = 1, most: int | None = None) -> None:
        _check_length(context_length)
        if least < 1 or (most is not None and most < 1):
            raise UserError(f"model.tokenizer.least={least} and most={most} must both be at least 1")
        self.context_length, self.clean, self.least, self.most = context_length, check_cleaning(clean), least, most

    def of(self, captions: Iterable[str]) -> WordTokenizer:
        """The tokenizer of these captions; of none at all, one that knows no word.

        Raises:
            UserError: they have no word that occurs often enough.
        """
        given = list(captions)
        words = words_of(given, self.clean, self.least, self.most)
        if given and not words:
            raise UserError(f"no word of the training captions occurs {self.least} times: lower model.tokenizer.least")
        return WordTokenizer(words, self.context_length, self.clean)


class SubwordsOfCaptions:
    """Makes a byte-level byte-pair encoding of captions (Sennrich et al., 2016; Radford et al., 2019): frequent words
    get a token, rare and new ones are put together from parts, down to bytes, so that no text is unknown.

    Args:
        vocab_size: ids at most, the 256 bytes and padding, start and end included.
        context_length: tokens of a row, start and end included.
        clean: what captions are made of before they are cut, see `triptych.features.text.clean`.

    Raises:
        UserError: a number below its least.
    """

    def __init__(self, vocab_size: int = 4096, context_length: int = 48, clean: str = "lower") -> None:
        _check_length(context_length)
        if vocab_size < (least := _BYTES + 3):
            raise UserError(f"model.tokenizer.vocab_size is {vocab_size}; bytes, padding, start and end take {least}")
        self.vocab_size, self.context_length, self.clean = vocab_size, context_length, check_cleaning(clean)

    def of(self, captions: Iterable[str]) -> JsonTokenizer:
        """The tokenizer of these captions, the same for the same captions."""
        backend = Backend(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab_size, special_tokens=[PAD, START, END], show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        )  # fmt: skip
        backend.train_from_iterator((clean(text, self.clean) for text in captions), trainer)
        pad, start, end = range(3)  # special tokens come first, in the order given
        backend.post_processor = processors.TemplateProcessing(
            single=f"{START} $A {END}", special_tokens=[(START, start), (END, end)]
        )
        return JsonTokenizer(pack(backend.to_str().encode()), self.context_length, pad, end, self.clean)


def _check_length(context_length: int) -> None:
    if context_length < 2:
        raise UserError(f"model.tokenizer.context_length is {context_length}; start and end token alone take 2")
