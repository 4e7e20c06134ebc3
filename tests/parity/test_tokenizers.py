"""Ids of open_clip's and transformers' tokenizers, over texts that nobody would write."""

import random
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from triptych.checkpoints.tokenizer_files import tokenizer_files
from triptych.features.clip_tokenizer import ClipTokenizer
from triptych.features.json_tokenizer import read_folder

# Ranges of characters that tokenizers stumble over, beside any character at all.
RANGES = [
    (0x20, 0x7E), (0x20, 0x7E), (0x20, 0x7E), (0x00, 0x1F), (0x7F, 0xFF), (0x100, 0x24F), (0x300, 0x36F),
    (0x370, 0x3FF), (0x400, 0x4FF), (0x5D0, 0x5EA), (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1E00, 0x1EFF),
    (0x2000, 0x206F), (0x2150, 0x218F), (0x3000, 0x30FF), (0x4E00, 0x4FFF), (0xAC00, 0xACFF), (0xFB00, 0xFB06),
    (0xFE00, 0xFE0F), (0xFF00, 0xFFEF), (0x1D400, 0x1D4FF), (0x1F300, 0x1F6FF), (0x1F900, 0x1F9FF), (0x10000, 0x10FFF),
    (0x1E900, 0x1E95F), (0x20000, 0x200FF), (0xE0001, 0xE007F), (0x01, 0x10FFFF),
]  # fmt: skip
FRAGMENTS = [
    "'s", "'T", "don't", "we'LL", "'\u017f", "\u2019re", "<start_of_text>", "<END_of_text>", "<|endoftext|>", "&amp;",
    "&amp;lt;", "&#x27;", "&eacute", "\u00c3\u00a9", "\u00e2\u20ac\u2122", "\u0130", "\u00df", "\ufb01", "\u00a0",
    "\u200b", "\r\n", "\t", "...", "!!!", "1234", "\u0662", "\u00b2", "\u2167", "caf\u00e9", "e\u0301", "\ud7ff",
    "</w>", "</w", "\x1b[31m", "\u212a", "a photo of a", "the dog", "INTERNATIONALISATION", "<b>", "\ufeff",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea",
]  # fmt: skip


def fuzzed(count: int, seed: int) -> Iterator[str]:
    """Texts of characters of a few ranges at a time, of fragments, and of both; some longer than a row."""
    draw = random.Random(seed)
    for _ in range(count):
        ranges = draw.sample(RANGES, draw.randint(1, 3))
        parts = []
        for _ in range(draw.choice((0, 1, 2, 3, 5, 8, 60))):
            if draw.random() < 0.4:
                parts.append(draw.choice(FRAGMENTS))
            else:
                low, high = draw.choice(ranges)
                letters = [draw.randint(low, high) for _ in range(draw.randint(1, 8))]
                parts.append("".join(chr(letter) for letter in letters if not 0xD800 <= letter <= 0xDFFF))
            parts.append(draw.choice(("", " ", " ", "  ", "\n")))
        yield "".join(parts)


@pytest.fixture(scope="module")
def open_clip() -> ModuleType:
    return pytest.importorskip("open_clip")


def compare(library: ModuleType, texts: list[str], **settings: Any) -> None:
    ours = ClipTokenizer(settings.get("context_length", 77), settings.pop("ours", "lower"))
    theirs = library.SimpleTokenizer(**settings)
    for start in range(0, len(texts), 1000):
        some = texts[start : start + 1000]
        expected, found = theirs(some), ours(some)
        different = [
            text for text, row, other in zip(some, found.ids, expected, strict=True) if not torch.equal(row, other)
        ]
        assert not different, different[:3]
        # The first end token is where CLIP reads a text.
        assert torch.equal(found.lengths - 1, expected.argmax(1))


def test_ids_of_open_clip(open_clip: ModuleType) -> None:
    compare(open_clip, list(fuzzed(5000, seed=random.randrange(2**32))))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ids_of_open_clip_over_a_large_corpus(open_clip: ModuleType) -> None:
    compare(open_clip, list(fuzzed(100_000, seed=0)))


@pytest.mark.parametrize("context_length", [2, 3, 8, 16])
def test_ids_at_truncation(context_length: int, open_clip: ModuleType) -> None:
    compare(open_clip, list(fuzzed(500, seed=1)), context_length=context_length)
    words = [" ".join(["cat"] * count) for count in range(20)]
    compare(open_clip, words, context_length=context_length)


def test_canonical_text(open_clip: ModuleType) -> None:
    compare(open_clip, list(fuzzed(1000, seed=2)), clean="canonicalize", ours="canonical")
    compare(open_clip, list(fuzzed(1000, seed=3)), clean="whitespace", ours="whitespace")


def test_files_for_transformers(transformers: ModuleType, tmp_path: Path) -> None:
    """What is written beside a CLIP is a tokenizer there, with the same ids for plain text."""
    ours = ClipTokenizer()
    for name, content in tokenizer_files(ours).items():
        (tmp_path / name).write_bytes(content)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    texts = ["A photo of a cat's café, 1984!", "two dogs", "", "x " * 100]
    made = theirs(texts, padding="max_length", truncation=True, max_length=77)["input_ids"]
    ids, lengths = ours(texts)
    for row, length, other in zip(ids.tolist(), lengths.tolist(), made, strict=True):
        assert row[:length] == other[:length]
    again = read_folder(tmp_path)
    assert again.vocab_size == ours.vocab_size
    assert again.end_token == ours.end_token
