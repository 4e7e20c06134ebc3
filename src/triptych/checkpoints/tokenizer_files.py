"""The files in which transformers keeps a tokenizer."""

import json
from logging import getLogger
from typing import Any

from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE

from triptych.features.clip_tokenizer import WORD_END, ClipTokenizer, merges, pieces
from triptych.features.json_tokenizer import DEFINITION, SETTINGS, JsonTokenizer, unpack
from triptych.features.sentencepiece_tokenizer import FILE, SentencePieceTokenizer
from triptych.features.tokenizer import Tokenizer

log = getLogger("triptych.checkpoints")

# transformers' names of CLIP's start and end.
START, END = "<|startoftext|>", "<|endoftext|>"


def tokenizer_files(tokenizer: Tokenizer | None) -> dict[str, bytes]:
    """Content by file name, to lie beside a model; none, with a warning, for a tokenizer that transformers lacks."""
    if isinstance(tokenizer, ClipTokenizer):
        roles = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
        return _with_settings({DEFINITION: _clip().encode()}, "CLIPTokenizer", tokenizer, roles)
    if isinstance(tokenizer, JsonTokenizer):
        content = unpack(tokenizer.definition)
        backend = Backend.from_str(content.decode())
        found = {"pad_token": tokenizer.pad_token, "eos_token": tokenizer.end_token}
        roles = {role: backend.id_to_token(token) for role, token in found.items() if token is not None}
        return _with_settings({DEFINITION: content}, "PreTrainedTokenizerFast", tokenizer, roles)
    if isinstance(tokenizer, SentencePieceTokenizer):
        return _with_settings({FILE: unpack(tokenizer.definition)}, "SiglipTokenizer", tokenizer, {})
    if tokenizer is not None:
        log.warning("transformers has no %s; the tokenizer is not written", type(tokenizer).__name__)
    return {}


def _with_settings(files: dict[str, bytes], kind: str, tokenizer: Tokenizer, roles: dict[str, Any]) -> dict[str, bytes]:
    settings = {"tokenizer_class": kind, "model_max_length": tokenizer.context_length, **roles}
    return {**files, SETTINGS[0]: json.dumps(settings, indent=2).encode()}


def _clip() -> str:
    """CLIP's vocabulary and merges in the form of transformers' fast tokenizer."""
    names = [*pieces()[:-2], START, END]
    backend = Backend(
        BPE(
            vocab={piece: number for number, piece in enumerate(names)}, merges=merges(), end_of_word_suffix=WORD_END,
            continuing_subword_prefix="", fuse_unk=False, unk_token=END,
        )
    )  # fmt: skip
    backend.normalizer = normalizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    cut = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    backend.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [pre_tokenizers.Split(cut, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    backend.post_processor = processors.RobertaProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        (END, len(names) - 1), (START, len(names) - 2), trim_offsets=False, add_prefix_space=False
    )
    backend.add_special_tokens([AddedToken(START, special=True), AddedToken(END, special=True)])
    return backend.to_str()
