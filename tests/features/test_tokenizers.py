"""The tokenizers: what goes in comes out, rows have one form, and a description makes the same tokenizer again."""

import html
import json
import pickle
import random
from pathlib import Path
from typing import Any

import ftfy
import pytest
import torch
from ftfy.badness import is_bad
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.build import MODEL_PACKAGES, build
from triptych.errors import UserError
from triptych.features.byte_tokenizer import ByteTokenizer
from triptych.features.clip_tokenizer import ClipTokenizer, _cut, _whole_words
from triptych.features.json_tokenizer import JsonTokenizer, pack, read_folder
from triptych.features.sentencepiece_tokenizer import SentencePieceTokenizer, read_file
from triptych.features.text import LONE, SAFE, SOUND, clean
from triptych.features.tokenizer import Tokenizer
from triptych.features.word_tokenizer import WordTokenizer, words_of

CAPTIONS = [
    "A photo of a cat.", "two dogs, playing in the snow", "the cat's dog", "", "a dog in a photo of the snow", "café",
    "a very long caption " * 9,
]  # fmt: skip
CONTEXT = 12


@pytest.fixture(scope="module")
def sentencepiece_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("spiece")
    (folder / "text.txt").write_text("\n".join([*CAPTIONS, "abcdefghijklmnopqrstuvwxyz"] * 20))
    library.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "spiece"), vocab_size=60, minloglevel=2,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False,
    )  # fmt: skip
    return folder / "spiece.model"


def word_level(folder: Path) -> Path:
    """A small tokenizer.json with an end token, as transformers lays it out."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers, processors

    words = ["<pad>", "</s>", "<unk>", *words_of(CAPTIONS, "canonical")]
    backend: Any = Backend(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"pad_token": "<pad>", "eos_token": {"content": "</s>"}, "model_max_length": CONTEXT})
    )
    return folder


KINDS = ("clip", "bytes", "words", "folder", "sentencepiece")


@pytest.fixture
def make(tmp_path: Path, request: pytest.FixtureRequest) -> Tokenizer:
    if request.param == "sentencepiece":
        return read_file(request.getfixturevalue("sentencepiece_file"), CONTEXT)
    if request.param == "folder":
        return read_folder(word_level(tmp_path / "folder"), clean="canonical")
    kinds: dict[str, Any] = {
        "clip": lambda: ClipTokenizer(CONTEXT),
        "bytes": lambda: ByteTokenizer(CONTEXT),
        "words": lambda: WordTokenizer(words_of(CAPTIONS), CONTEXT),
    }
    return kinds[request.param]()


@pytest.mark.parametrize("make", KINDS, indirect=True)
def test_rows_have_one_form(make: Tokenizer) -> None:
    assert isinstance(make, Tokenizer)
    ids, lengths = make(CAPTIONS)
    assert ids.shape == (len(CAPTIONS), CONTEXT)
    assert ids.dtype == lengths.dtype == torch.int64
    assert 0 <= ids.min() <= ids.max() < make.vocab_size
    assert lengths[-1] == CONTEXT
    assert lengths.min() >= 1
    assert make.end_token is not None
    ends = ids[torch.arange(len(CAPTIONS)), lengths - 1]
    assert ends.tolist() == [make.end_token] * len(CAPTIONS)
    # A text has the same row whatever stands beside it.
    for row, length, caption in zip(ids, lengths, CAPTIONS, strict=True):
        alone = make([caption])
        assert torch.equal(alone.ids[0], row)
        assert alone.lengths[0] == length
    empty = make([])
    assert empty.ids.shape == (0, CONTEXT)


@pytest.mark.parametrize("make", KINDS, indirect=True)
def test_a_description_makes_it_again(make: Tokenizer) -> None:
    plain = json.loads(json.dumps(make.config))
    for again in (build(plain, MODEL_PACKAGES), pickle.loads(pickle.dumps(make))):
        assert again.config == make.config
        assert again.vocab_size == make.vocab_size
        for ours, theirs in zip(again(CAPTIONS), make(CAPTIONS), strict=True):
            assert torch.equal(ours, theirs)


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_bytes_come_back(text: str) -> None:
    tokenizer = ByteTokenizer(1000, clean="none")
    text = text.encode("utf-8", "ignore").decode()
    ids, lengths = tokenizer([text])
    assert tokenizer.decode(ids[0].tolist()) == text
    assert lengths[0] == len(text.encode()) + 2


def test_clip_text_comes_back_plain() -> None:
    tokenizer = ClipTokenizer()
    ids, _ = tokenizer(["A  Photo of a CAFÉ &amp; 12 cats", ""])
    assert tokenizer.decode(ids[0].tolist()) == "a photo of a café & 1 2 cats"
    assert tokenizer.decode(ids[1].tolist()) == ""
    assert ids[0, 0] == 49406


def test_words_that_are_tokens_are_cut_into_themselves() -> None:
    known = _whole_words()
    assert len(known) > 30_000
    assert {word: _cut(word) for word in known} == known


def test_words() -> None:
    words = words_of(["a cat a dog", "a bird, a cat"])
    assert words == ["a", "cat", ",", "bird", "dog"]
    assert words_of(["a cat a dog", "a bird, a cat"], "canonical", least=2, most=1) == ["a"]
    tokenizer = WordTokenizer(words, 8)
    assert tokenizer(["A cat and a fish"]).ids[0].tolist() == [2, 4, 5, 1, 4, 1, 3, 0]
    assert tokenizer.decode([2, 4, 5, 1, 3, 0]) == "a cat <unknown>"


@pytest.mark.parametrize(
    ("cleaning", "expected"),
    [
        ("none", " Caf\u00c3\u00a9  &amp;lt; A_B, c! "),
        ("whitespace", "Caf\u00e9 < A_B, c!"),
        ("lower", "caf\u00e9 < a_b, c!"),
        ("canonical", "caf\u00e9 a b c"),
    ],
)
def test_cleaning(cleaning: str, expected: str) -> None:
    assert clean(" Caf\u00c3\u00a9  &amp;lt; A_B, c! ", cleaning) == expected


def test_sound_text_is_text_that_ftfy_leaves_alone() -> None:
    """Every character that is spared the look, by itself, between others and after one."""
    sound = [chr(code) for code in range(0x80, 0x20000) if not 0xD800 <= code < 0xE000 and SOUND.fullmatch(chr(code))]
    assert len(sound) > 30_000
    draw = random.Random(0)
    for start in range(0, len(sound), 40):
        for text in (" ".join(sound[start : start + 40]), "".join(draw.sample(sound, 3)) + "a" + draw.choice(sound)):
            assert clean(text, "whitespace") == " ".join(html.unescape(ftfy.fix_text(text)).split())


def test_lone_letters_are_sound_whatever_stands_beside_them() -> None:
    """Each, between some of the signs of ASCII, at the start and at the end."""
    plain = [chr(code) for code in range(0x20, 0x7F) if chr(code) != "&"]
    lone = [chr(code) for code in range(0x80, 0x3000) if LONE.fullmatch(chr(code)) and not SAFE.fullmatch(chr(code))]
    assert len(lone) > 400
    draw = random.Random(0)
    for letter in lone:
        inner = "".join(draw.choice(plain) + letter + draw.choice(plain) for _ in range(60))
        text = letter + draw.choice(plain) + inner + letter
        assert LONE.fullmatch(text)
        assert not is_bad(text)


PARTS = [
    "&", "amp;", "&amp;", "&lt;", "&gt", ";", "&quot;", "&#39;", "&#", "39;", "#", "<", "a", "lt;", " ", "cats", "é",
    "“",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=9).map("".join))
def test_entities_are_those_of_ftfy_and_html(text: str) -> None:
    assert clean(text, "whitespace") == " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())


def test_mistakes_are_told(tmp_path: Path, sentencepiece_file: Path) -> None:
    with pytest.raises(ValueError, match="clean is 'upper'; it must be one of none, whitespace, lower, canonical"):
        ClipTokenizer(clean="upper")
    for kind in (ClipTokenizer, ByteTokenizer):
        with pytest.raises(ValueError, match="context_length is 1; start and end token alone take 2"):
            kind(1)
    with pytest.raises(ValueError, match="word 'a' is in the list of words twice"):
        WordTokenizer(["a", "b", "a"])
    with pytest.raises(UserError, match=r"has no tokenizer\.json; save the tokenizer anew"):
        read_folder(tmp_path)
    folder = word_level(tmp_path / "f")
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match="does not say how many tokens a text may have; give context_length"):
        read_folder(folder)
    assert read_folder(folder, 5).context_length == 5
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="none that the tokenizers library reads"):
        read_folder(folder, 5)
    with pytest.raises(ValueError, match="definition is none that the tokenizers library reads"):
        JsonTokenizer(pack(b"{}"), 5)
    with pytest.raises(UserError, match="is no file; expected a SentencePiece model"):
        read_file(tmp_path / "spiece.model")
    with pytest.raises(UserError, match="the definition is no SentencePiece model"):
        SentencePieceTokenizer(pack(b"nothing"))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    modules: dict[str, Any] = sys.modules
    monkeypatch.setitem(modules, "sentencepiece", None)
    with pytest.raises(UserError, match=r"pip install 'triptych\[sentencepiece\]'"):
        SentencePieceTokenizer("")
