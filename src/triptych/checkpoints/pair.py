"""What all checkpoints of CLIP and SigLIP share: our model in plain data, its tokenizer, and what its towers are made
of.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from torch import nn

from triptych.checkpoints.foreign import part
from triptych.checkpoints.remap import Rule
from triptych.errors import UserError
from triptych.features import json_tokenizer, sentencepiece_tokenizer
from triptych.features.clip_tokenizer import ClipTokenizer
from triptych.features.tokenizer import Tokenizer
from triptych.models.contrastive import Contrastive
from triptych.nn.block import Block
from triptych.nn.feedforward import GELUFeedForward, QuickGELUFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.pool import LastTokenPool
from triptych.nn.position import LearnedPosition
from triptych.towers.text import TextTower
from triptych.towers.vision import VisionTower

log = getLogger("triptych.checkpoints")

IMAGE, TEXT = "towers.image.", "towers.text."
# What OpenAI's models were trained with, and all that say nothing else.
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


class Parts(NamedTuple):
    """What the blocks of a tower have in common."""

    heads: int
    hidden_dim: int
    activation: str
    """As transformers calls it: gelu, gelu_pytorch_tanh or quick_gelu."""
    eps: float


def contrastive(
    image: dict[str, Any],
    text: dict[str, Any],
    embedding_dim: int,
    projections: dict[str, dict[str, Any] | None],
    bias: bool,
    tokenizer: Tokenizer | None,
) -> dict[str, Any]:
    """The plain configuration of a pair; ``bias``: its logits have one."""
    return {
        "_target_": "triptych.models.contrastive.Contrastive",
        "towers": {"image": image, "text": text},
        "embedding_dim": embedding_dim,
        "projections": projections,
        "logit_bias_init": -10.0 if bias else None,
        "tokenizer": None if tokenizer is None else tokenizer.config,
    }


def linear(bias: bool = False) -> dict[str, Any]:
    """The configuration of a projection."""
    return part("linear.Linear", bias=bias)


def number(name: str, shape: tuple[int, ...] = ()) -> Rule:
    """A single number, which some keep with an axis: ``shape`` is how it is written back."""
    return Rule((name,), (name,), lambda t: [t[0].reshape(())], lambda t: [t[0].reshape(shape)])


def tokenizer_in(folder: Path, vocab_size: int, context_length: int, clean: str) -> Tokenizer | None:
    """The tokenizer whose files lie beside a model, texts made plain by ``clean``, or CLIP's own where the vocabulary
    is as large; None where neither can be had, which is logged.
    """
    ours = ClipTokenizer(context_length, "canonical" if clean == "canonical" else "lower")
    if (folder / json_tokenizer.DEFINITION).is_file():
        found = json_tokenizer.read_folder(folder, context_length, clean)
        sample = ["the quick brown fox's 12 photos, naïve", "a"]
        same = found.vocab_size == ours.vocab_size and bool((found(sample).lengths == ours(sample).lengths).all())
        return ours if same and bool((found(sample).ids[0, :8] == ours(sample).ids[0, :8]).all()) else found
    if (folder / sentencepiece_tokenizer.FILE).is_file():
        if find_spec("sentencepiece"):
            return sentencepiece_tokenizer.read_file(folder / sentencepiece_tokenizer.FILE, context_length, clean=clean)
        log.warning("%s: the tokenizer needs sentencepiece (pip install 'triptych[sentencepiece]')", folder)
        return None
    if vocab_size == ours.vocab_size:
        return ours
    log.warning("%s has no tokenizer of %d tokens beside its weights", folder, vocab_size)
    return None


def towers_of(model: nn.Module, library: str) -> tuple[Contrastive, VisionTower, TextTower]:
    """The two towers of a model that is to be written. Raises UserError where it has others."""
    if not isinstance(model, Contrastive) or set(model.modalities) != {"image", "text"}:
        lacks(library, f"{type(model).__name__} of other towers than image and text")
    image, text = model.towers["image"], model.towers["text"]
    if not isinstance(image, VisionTower) or not isinstance(text, TextTower):
        lacks(library, f"{type(image).__name__} beside a {type(text).__name__}")
    return model, image, text


def parts_of(tower: VisionTower | TextTower, library: str) -> Parts:
    """What the blocks of a tower have in common. Raises UserError, naming it, for what neither CLIP nor SigLIP has."""
    block = tower.stack.blocks[0]
    assert isinstance(block, Block)
    mixer, feedforward = block.mixer, block.feedforward
    if not isinstance(mixer, SoftmaxMixer) or mixer.kv_heads != mixer.heads or mixer.query_norm is not None:
        lacks(library, "mixer other than plain softmax attention")
    if mixer.out.bias is None or mixer.qkv.bias is None or not all(mixer.qkv.biased):
        lacks(library, "attention without biases")
    if not isinstance(feedforward, GELUFeedForward | QuickGELUFeedForward) or feedforward.up.bias is None:
        lacks(library, f"{type(feedforward).__name__} or feed-forward without bias")
    if not isinstance(feedforward.inner_norm, nn.Identity):
        lacks(library, "norm inside the feed-forward")
    if type(tower.position) is not LearnedPosition:
        lacks(library, type(tower.position).__name__)
    norms = [module for module in tower.modules() if isinstance(module, nn.LayerNorm | nn.RMSNorm)]
    if (
        any(not isinstance(norm, nn.LayerNorm) or norm.bias is None for norm in norms)
        or len({n.eps for n in norms}) > 1
    ):
        lacks(library, "norms other than LayerNorm with a bias and one eps")
    quick = isinstance(feedforward, QuickGELUFeedForward)
    tanh = isinstance(feedforward, GELUFeedForward) and feedforward.approximate == "tanh"
    activation = "quick_gelu" if quick else "gelu_pytorch_tanh" if tanh else "gelu"
    return Parts(mixer.heads, feedforward.up.out_features, activation, float(norms[0].eps or 0))


def check_text(text: TextTower, library: str) -> None:
    """Raises UserError unless a text is pooled at its end: at its end token behind a causal mask, or at the last place,
    padding read like any token.
    """
    clip = text.causal and text.end_token is not None and not text.reads_padding
    siglip = not text.causal and text.reads_padding
    if not isinstance(text.pool, LastTokenPool) or text.pool.norm_after or not (clip or siglip):
        lacks(library, f"text pooled by {type(text.pool).__name__}, causal={text.causal}, end_token={text.end_token}")


def lacks(library: str, what: str) -> NoReturn:
    """Raises the UserError for a part that a library's models lack."""
    raise UserError(
        f"{library}'s CLIP and SigLIP have no {what}, so this model cannot be written for it; export it as "
        "format='triptych'."
    )


def need(state: Mapping[str, Any], name: str, source: str) -> Any:
    """A weight by its name. Raises UserError where there is none."""
    if name not in state:
        raise UserError(f"The {source} model has no weight {name!r}, so it is not what its config says.")
    return state[name]
