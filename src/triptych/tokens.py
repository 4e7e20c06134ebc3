"""What a model's configuration leaves to its tokenizer: the words, the size of the vocabulary, the length of a text."""

from collections.abc import Iterable
from typing import Any

from triptych.build import RUN_PACKAGES, build
from triptych.features.word_tokenizer import words_of


def fill_vocabulary(model: dict[str, Any], captions: Iterable[str] = (), allow: tuple[str, ...] = RUN_PACKAGES) -> None:
    """Fills in, in place, what a plain configuration of a model leaves open: the words of its tokenizer, from
    ``captions``; and the text tower's ``vocab_size``, ``context_length`` and ``end_token``, from the tokenizer. A
    tokenizer that was read from a file is described by its content from now on, so that the model needs no file.

    Raises UserError where the tokenizer cannot be made.
    """
    described = model.get("tokenizer")
    if not isinstance(described, dict):
        return
    if "words" in described and described["words"] is None:
        described["words"] = words_of(captions, described["clean"])
    tokenizer = build(described, allow)
    model["tokenizer"] = tokenizer.config
    text = model["towers"]["text"]
    for key in ("vocab_size", "context_length", "end_token"):
        if key in text and text[key] is None:
            text[key] = getattr(tokenizer, key)
