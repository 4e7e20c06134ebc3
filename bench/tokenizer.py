"""Captions a second of our CLIP tokenizer and open_clip's, interleaved in one process, on captions made of real words.

    uv run python bench/tokenizer.py [captions] [pairs]

Captions have 13 tokens on average, and one in three has a word that is no single token. In "plain" ones all is ASCII,
as nearly all captions of COCO and Conceptual
Captions are; in "mixed" ones one in ten has characters beyond, one in a hundred an entity, as captions from the web.
"cold" starts with an empty cache of words each time, as both have after a start.
"""

import random
import sys
from functools import partial

from open_clip.tokenizer import SimpleTokenizer

from triptych.features.clip_tokenizer import WORD_END, ClipTokenizer, pieces
from triptych.measure.timing import compare


def captions(count: int, mixed: bool, seed: int = 0) -> list[str]:
    """Captions of words from CLIP's own vocabulary, the frequent ones more often."""
    draw = random.Random(seed)
    words = [piece.removesuffix(WORD_END) for piece in pieces()[512:-2] if piece.endswith(WORD_END) and piece.isascii()]
    words = [word for word in words if word.removesuffix(WORD_END).isalpha()] or words
    made = []
    for _ in range(count):
        chosen = [words[int(len(words) * draw.random() ** 3)] for _ in range(max(1, round(draw.gauss(10, 3))))]
        if draw.random() < 0.3:
            chosen.append(draw.choice(words) + draw.choice(words))
        if mixed and draw.random() < 0.1:
            chosen.append(draw.choice(("café", "“naïve”", "—", "東京", "🐈")))
        if mixed and draw.random() < 0.01:
            chosen.append("&amp;")
        made.append(" ".join(chosen).capitalize() + draw.choice(("", ".", "!")))
    return made


def main(count: int = 5000, pairs: int = 5) -> None:
    for kind in ("plain", "mixed"):
        texts = captions(count, kind == "mixed")
        ours, theirs = ClipTokenizer(), SimpleTokenizer()
        assert (ours(texts).ids == theirs(texts)).all()
        mean = float(ours(texts).lengths.double().mean())
        warm = compare(partial(theirs, texts), partial(ours, texts), pairs)
        cold = compare(partial(_cold, theirs, texts), lambda texts=texts: ClipTokenizer()(texts), pairs)
        for name, result in (("warm", warm), ("cold", cold)):
            print(
                f"{kind}, {name}: open_clip {count / result.first.median:,.0f}, ours "
                f"{count / result.second.median:,.0f} captions/s of {mean:.1f} tokens: {result} times as many"
            )


def _cold(tokenizer: SimpleTokenizer, texts: list[str]) -> object:
    tokenizer.cache = {"<start_of_text>": "<start_of_text>", "<end_of_text>": "<end_of_text>"}
    return tokenizer(texts)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
