"""What a model's configuration leaves to its tokenizer: the words, the size of the vocabulary, the length of a text."""

from collections.abc import Iterable
from typing import Any

from triptych.build import RUN_PACKAGES, build
from triptych.features.tokenizer import Tokenizer
from triptych.features.vocabulary import TokenizerMaker


def fill_vocabulary(
    model: dict[str, Any], captions: Iterable[str] = (), allow: tuple[str, ...] = RUN_PACKAGES
) -> Tokenizer | None:
    """Fills in, in place, what a plain configuration of a model leaves open: its tokenizer, where one is to be made of
    ``captions``; and the text tower's ``vocab_size``, ``context_length`` and ``end_token``, from the tokenizer. A
    tokenizer that was read from a file is described by its content from now on, so that the model needs no file.

    Gives the tokenizer, None where the model has none. Raises UserError where it cannot be made.
    """
    described = model.get("tokenizer")
    if not isinstance(described, dict):
        return None
    found = build(described, allow)
    tokenizer: Tokenizer = found.of(captions) if isinstance(found, TokenizerMaker) else found
    model["tokenizer"] = tokenizer.config
    text = model["towers"]["text"]
    for key in ("vocab_size", "context_length", "end_token"):
        if key in text and text[key] is None:
            text[key] = getattr(tokenizer, key)
    return tokenizer
