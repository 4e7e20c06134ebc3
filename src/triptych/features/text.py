"""Text made plain before it is cut into tokens, as CLIP's and SigLIP's own code does."""

import html
import re
import string

import ftfy

CLEANINGS = ("none", "whitespace", "lower", "canonical")
# Printable ASCII without what could be an entity: nothing in it can be broken, so `ftfy` need not look.
PLAIN = re.compile(r"[\t\n\r\x20-\x25\x27-\x7e]*")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clean(text: str, cleaning: str) -> str:
    """The text as a tokenizer with this ``cleaning`` reads it: "none" is as it is; "whitespace" mends broken Unicode
    and entities and has one space between words; "lower" is that in lower case (CLIP); "canonical" leaves ASCII
    punctuation out besides (SigLIP; big_vision's ``canonicalize_text``).

    Raises ValueError for any other cleaning.
    """
    if cleaning == "none":
        return text
    text = mend(text)
    if cleaning == "canonical":
        text = text.replace("_", " ").translate(NO_PUNCTUATION).lower()
    text = " ".join(text.split())
    if cleaning == "lower":
        text = text.lower()
    return text


def mend(text: str) -> str:
    """Text that was decoded wrongly, or escaped for HTML once or twice, put right."""
    return text if PLAIN.fullmatch(text) else html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def check_cleaning(cleaning: str) -> str:
    """Raises ValueError where there is no such cleaning."""
    if cleaning not in CLEANINGS:
        raise ValueError(f"clean is {cleaning!r}; it must be one of {', '.join(CLEANINGS)}.")
    return cleaning
