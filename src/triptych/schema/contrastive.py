"""Contrastive models, their text towers, projections and tokenizers."""

import math
from dataclasses import dataclass, field
from typing import Any

from triptych.schema import model
from triptych.schema.audio import AudioTower, Patchout
from triptych.schema.option import Range, option
from triptych.schema.run import Part

_CLEAN = Range(choices=("none", "whitespace", "lower", "canonical"))
_CLEAN_HELP = (
    "how texts are made plain: whitespace mends broken Unicode and spaces, lower is in lower case besides (CLIP), "
    "canonical without ASCII punctuation (SigLIP), none leaves them as they are"
)


@dataclass
class TextTower(Part):
    """A transformer over token ids: texts to an embedding."""

    _target_: str = "triptych.towers.text.TextTower"
    vocab_size: int | None = option(
        "ids that there are; null: as many as the tokenizer has", default=None, range=Range(least=1)
    )
    context_length: int | None = option(
        "most tokens of a text; null: as many as the tokenizer gives", default=None, range=Range(least=1)
    )
    dim: int = option("width of the tokens", range=Range(least=1))
    depth: int = option("number of blocks", range=Range(least=1))
    mixer: Part = field(default_factory=Part)
    feedforward: Part = field(default_factory=Part)
    norm: Part = field(default_factory=Part)
    position: Part = field(default_factory=Part)
    pool: Part = field(default_factory=Part)
    causal: bool = option("a token sees only those before it (CLIP); false: all of them (SigLIP)", default=True)
    end_token: int | None = option("id that ends a text; null: the tokenizer's", default=None, range=Range(least=0))
    reads_padding: bool = option(
        "padding is read like any token, as SigLIP was trained; false: no work is spent on it", default=False
    )
    token_dropout: float = option(
        "share of tokens whose embedding is left out in training, so that a text is understood by the words that are "
        "known",
        default=0.0,
        range=Range(least=0, below=1),
    )
    layer_scale: float | None = option(
        "initial gain of each residual branch; null for no gain", default=None, range=Range(above=0)
    )
    stochastic_depth: float = option(
        "share of samples that the last block's branches leave out in training, growing linearly from 0 at the first",
        default=0.0,
        range=Range(least=0, below=1),
    )
    init: Part = field(default_factory=Part)


@dataclass
class LinearProjection(Part):
    """A linear map from a tower's embedding to the common one."""

    _target_: str = "triptych.nn.linear.Linear"
    _partial_: bool = True
    bias: bool = option("a bias, as SigLIP's texts have", default=False)


@dataclass
class ClipTokenizer(Part):
    """CLIP's byte-pair encoding of 49,408 tokens."""

    _target_: str = "triptych.features.clip_tokenizer.ClipTokenizer"
    context_length: int = option("tokens of a row", default=77, range=Range(least=2))
    clean: str = option(_CLEAN_HELP, default="lower", range=_CLEAN)


@dataclass
class ByteTokenizer(Part):
    """The bytes of a text in UTF-8."""

    _target_: str = "triptych.features.byte_tokenizer.ByteTokenizer"
    context_length: int = option("tokens of a row", default=256, range=Range(least=2))
    clean: str = option(_CLEAN_HELP, default="whitespace", range=_CLEAN)


@dataclass
class WordTokenizer(Part):
    """A token for each word of a list."""

    _target_: str = "triptych.features.word_tokenizer.WordTokenizer"
    words: list[str] = option("the words")
    context_length: int = option("tokens of a row", default=32, range=Range(least=2))
    clean: str = option(_CLEAN_HELP, default="lower", range=_CLEAN)


@dataclass
class WordsOfCaptions(Part):
    """A token for each word of the training captions: for small sets of plain captions."""

    _target_: str = "triptych.features.vocabulary.WordsOfCaptions"
    context_length: int = option("tokens of a row", default=32, range=Range(least=2))
    clean: str = option(_CLEAN_HELP, default="lower", range=_CLEAN)
    least: int = option("times that a word must occur to have a token", default=1, range=Range(least=1))
    most: int | None = option("words, the most frequent ones; null: all", default=None, range=Range(least=1))


@dataclass
class SubwordsOfCaptions(Part):
    """Parts of words, frequent in the training captions; any text can be put together from them."""

    _target_: str = "triptych.features.vocabulary.SubwordsOfCaptions"
    vocab_size: int = option(
        "ids at most, of which bytes, padding, start and end take 259", default=4096, range=Range(least=259)
    )
    context_length: int = option("tokens of a row", default=48, range=Range(least=2))
    clean: str = option(_CLEAN_HELP, default="lower", range=_CLEAN)


@dataclass
class FolderTokenizer(Part):
    """The tokenizer.json that transformers saved in a folder."""

    _target_: str = "triptych.features.json_tokenizer.read_folder"
    folder: str = option("the folder")
    context_length: int | None = option(
        "tokens of a row; null: the folder's model_max_length", default=None, range=Range(least=2)
    )
    clean: str = option(_CLEAN_HELP, default="none", range=_CLEAN)


@dataclass
class SentencePieceTokenizer(Part):
    """A SentencePiece model, as SigLIP's is."""

    _target_: str = "triptych.features.sentencepiece_tokenizer.read_file"
    path: str = option("the model's file, such as spiece.model")
    context_length: int = option("tokens of a row", default=64, range=Range(least=2))
    pad_token: int | None = option("id that fills the rows; null: the end token", default=None, range=Range(least=0))
    clean: str = option(_CLEAN_HELP, default="canonical", range=_CLEAN)


@dataclass
class ContrastiveModel(Part):
    """Two towers or more whose embeddings meet in one space."""

    _target_: str = "triptych.models.contrastive.Contrastive"
    towers: dict[str, Part] = field(default_factory=dict)
    embedding_dim: int = option("width of the common embedding", range=Range(least=1))
    projections: dict[str, Part | None] = field(default_factory=dict)
    logit_scale_init: float = option(
        "logarithm of what logits are multiplied by at the start: ln(1 / 0.07) in CLIP, ln(10) in SigLIP",
        default=math.log(1 / 0.07),
        range=Range(least=0, most=math.log(100)),
    )
    logit_bias_init: float | None = option(
        "what is added to logits at the start: -10 in SigLIP; null for no bias", default=None
    )
    locked: list[str] = option("towers that are not trained, such as [image] (LiT)", default=[])
    tokenizer: Part | None = option("what makes ids of texts; null: they come as ids", default=None)


TOKENIZERS = (
    ClipTokenizer, ByteTokenizer, WordTokenizer, WordsOfCaptions, SubwordsOfCaptions, FolderTokenizer,
    SentencePieceTokenizer,
)  # fmt: skip
_IMAGE_PARTS = {place.removeprefix("model.tower"): kinds for place, kinds in model.PLACES.items() if "tower" in place}
_AUDIO_PARTS = {**_IMAGE_PARTS, "": (AudioTower,), ".patchout": (Patchout,)}
_TEXT_PARTS = {
    part: kinds for part, kinds in _IMAGE_PARTS.items() if part and not part.startswith((".patch", ".input_norm"))
}
PLACES: dict[str, tuple[type[Any], ...]] = {
    "model": (*model.PLACES["model"], ContrastiveModel),
    **{f"model.towers.image{part}": kinds for part, kinds in _IMAGE_PARTS.items()},
    **{f"model.towers.audio{part}": kinds for part, kinds in _AUDIO_PARTS.items()},
    "model.towers.text": (TextTower,),
    **{f"model.towers.text{part}": kinds for part, kinds in _TEXT_PARTS.items()},
    **{f"model.projections.{modality}": (LinearProjection,) for modality in ("image", "audio", "text")},
    "model.tokenizer": TOKENIZERS,
}
