"""Text made plain before it is cut into tokens, as CLIP's and SigLIP's own code does."""

import html
import re
import string
from unicodedata import is_normalized

import ftfy
from ftfy.badness import is_bad

CLEANINGS = ("none", "whitespace", "lower", "canonical")
# Ideographs, kana, Hangul and pictures, which `ftfy` leaves as they are, and letters, dashes and quotes, which it
# changes only where they look like text decoded wrongly. Most captions are of these alone, and spared most of its work.
NEVER_BAD = r"\t\n\x20-\x25\x27-\x7e\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff\uac00-\ud7a3\U0001f300-\U0001faff"
SAFE = re.compile(f"[{NEVER_BAD}]*")
SOUND = re.compile(rf"[{NEVER_BAD}\xa1-\u0131\u0134-\u0148\u014a-\u017f\u0370-\u04ff\u2010-\u2014\u2018-\u201f\u2026]*")
# Those letters, dashes and quotes that look like text decoded wrongly only beside another that is not ASCII.
LONE = re.compile(
    rf"[{NEVER_BAD}]*(?:(?<![^\x00-\x7f])[\xa1-\xa3\xa5\xa7\xa9\xab\xad\xae\xb0-\xb7\xb9\xbb-\xc1\xc4-\u0131\u0134-\u0148"
    rf"\u014a-\u0151\u0154-\u017f\u0370-\u04ff\u2010-\u2014\u2018-\u201f\u2026](?![^\x00-\x7f])[{NEVER_BAD}]*)*"
)
# Ampersands, and the entities that stand for ASCII signs, where no sign that they become makes another entity.
PLAIN_ENTITIES = re.compile(rf"[{NEVER_BAD}]*(?:&(?:(?:amp;)?(?![#A-Za-z])|lt;|gt;|quot;|#39;)[{NEVER_BAD}]*)*")
QUOTES = [(curly, "'") for curly in "\u2018\u2019\u201a\u201b"] + [(curly, '"') for curly in "\u201c\u201d\u201e\u201f"]
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clean(text: str, cleaning: str) -> str:
    """The text as a tokenizer with this ``cleaning`` reads it: "none" is as it is; "whitespace" mends broken Unicode
    and entities and has one space between words; "lower" is that in lower case (CLIP); "canonical" leaves ASCII
    punctuation out besides (SigLIP; big_vision's ``canonicalize_text``).
    """
    return text if cleaning == "none" else " ".join(words(text, cleaning))


def words(text: str, cleaning: str) -> list[str]:
    """What stands between the spaces of the text as `clean` makes it."""
    if cleaning == "none":
        return text.split()
    text = mend(text)
    if cleaning == "canonical":
        text = text.replace("_", " ").translate(NO_PUNCTUATION)
    return (text if cleaning == "whitespace" else text.lower()).split()


def mend(text: str) -> str:
    """Text that was decoded wrongly, or escaped for HTML once or twice, put right."""
    # Printable ASCII without what could be an entity has nothing that could be broken.
    if (text.isascii() and text.isprintable() and "&" not in text) or SAFE.fullmatch(text):
        return text
    if SOUND.fullmatch(text) and is_normalized("NFC", text):
        straight = text
        for curly, plain in QUOTES:
            straight = straight.replace(curly, plain)
        if LONE.fullmatch(text) or not (is_bad(text) or (straight != text and is_bad(straight))):
            return straight
    if PLAIN_ENTITIES.fullmatch(text):
        return html.unescape(text)
    return html.unescape(html.unescape(ftfy.fix_text(text)))


def check_cleaning(cleaning: str) -> str:
    """Raises ValueError where there is no such cleaning."""
    if cleaning not in CLEANINGS:
        raise ValueError(f"clean is {cleaning!r}; it must be one of {', '.join(CLEANINGS)}.")
    return cleaning
