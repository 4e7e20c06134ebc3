"""What transformers' families share: names, activations, tokens, class names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from triptych.checkpoints.foreign import part
from triptych.checkpoints.remap import Rule, Tensors, rename
from triptych.errors import UserError
from triptych.models.classifier import Classifier
from triptych.nn.block import Block
from triptych.nn.feedforward import GELUFeedForward, QuickGELUFeedForward
from triptych.nn.head import DistilledHead
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.position import LearnedPosition
from triptych.towers.patches import PatchTower
from triptych.towers.vision import VisionTower

PREPROCESSOR = "preprocessor_config.json"
ACTIVATIONS: dict[str, dict[str, Any]] = {
    "gelu": part("feedforward.GELUFeedForward", approximate="none"),
    "gelu_pytorch_tanh": part("feedforward.GELUFeedForward", approximate="tanh"),
    "gelu_new": part("feedforward.GELUFeedForward", approximate="tanh"),
    "quick_gelu": part("feedforward.QuickGELUFeedForward"),
}
# Weights that no output which we compute depends on: the mask of pre-training, numbers of positions that older versions
# stored, and the pooler that a bare ViTModel applies to its class token for tasks other than these.
UNREAD = ("embeddings.mask_token", "embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")


@dataclass(frozen=True)
class Expressed:
    """A model of ours in transformers' terms: its configuration, how its names become theirs, and weights that they
    have and we have not.
    """

    config: dict[str, Any]
    rules: list[Rule]
    unread: dict[str, Tensor] = field(default_factory=dict)


def unread(state: Mapping[str, Tensor], prefix: str) -> tuple[str, ...]:
    """The weights of the tower that are never read (`UNREAD`)."""
    return tuple(name for name in state if name.removeprefix(prefix) in UNREAD)


def prefix_of(state: Mapping[str, Tensor], ending: str, source: str) -> str:
    """What stands before the names of the tower: nothing in a bare model, the model's name under a head.

    Raises UserError where no name ends so.
    """
    found = [name.removesuffix(ending) for name in state if name == ending or name.endswith(f".{ending}")]
    if len(found) != 1:
        raise UserError(f"The {source} model has no weight {ending!r}, so it is not what its config.json says.")
    return found[0]


def pair(size: Any) -> list[int]:
    """Height and width from one number or two."""
    return [int(size)] * 2 if isinstance(size, int) else [int(side) for side in size]


def depth_of(state: Mapping[str, Tensor], layers: str) -> int:
    """How many layers there are, by the numbers behind ``layers`` in the names."""
    return len({name.removeprefix(layers).split(".")[0] for name in state if name.startswith(layers)})


def width_of(state: Mapping[str, Tensor], name: str, axis: int, source: str) -> int:
    """One side of a weight. Raises UserError where there is none of that name."""
    if name not in state:
        raise UserError(f"The {source} model has no weight {name!r}, so it is not what its config.json says.")
    return state[name].shape[axis]


def feedforward_of(config: Mapping[str, Any], default: str, source: str, **settings: Any) -> dict[str, Any]:
    """The feed-forward of a configuration's ``hidden_act``. Raises UserError where we have not its activation."""
    name = config.get("hidden_act", default)
    if name not in ACTIVATIONS:
        raise UserError(f"The {source} model has hidden_act={name!r}; Triptych reads {', '.join(ACTIVATIONS)}.")
    return {**ACTIVATIONS[name], **settings}


def activation_of(block: Block) -> str:
    """transformers' name of a feed-forward's activation. Raises UserError where it has none."""
    made = block.feedforward
    if not isinstance(getattr(made, "inner_norm", nn.Identity()), nn.Identity):
        no_form("norm inside the feed-forward")
    if isinstance(made, QuickGELUFeedForward):
        return "quick_gelu"
    if isinstance(made, GELUFeedForward) and made.up.bias is not None:
        return "gelu_pytorch_tanh" if made.approximate == "tanh" else "gelu"
    no_form(f"{type(made).__name__} (or without bias) in this family")


def plain_parts(tower: PatchTower, block: Block, overlap: bool = False) -> tuple[SoftmaxMixer, LearnedPosition, float]:
    """The mixer, the positions and the epsilon of the norms. Raises UserError where one has no form in any family;
    ``overlap``: patches may.
    """
    mixer, position = block.mixer, tower.position
    if not isinstance(mixer, SoftmaxMixer) or mixer.kv_heads != mixer.heads or mixer.query_norm is not None:
        no_form("mixer other than softmax attention with as many key-value heads as heads and plain queries and keys")
    if mixer.out.bias is None or mixer.qkv.biased not in ([True] * 3, [False] * 3):
        no_form("attention with biases in some of its projections alone")
    if not isinstance(position, LearnedPosition):
        no_form(type(position).__name__)
    if (tower.patch.stride != tower.patch.patch_size and not overlap) or tower.patch.projection.bias is None:
        no_form("patches that overlap, or have no bias")
    if not tower.patch.linear:
        no_form(type(tower.patch).__name__)
    norms = [module for module in tower.modules() if isinstance(module, nn.LayerNorm | nn.RMSNorm)]
    if (
        any(not isinstance(norm, nn.LayerNorm) or norm.bias is None for norm in norms)
        or len({n.eps for n in norms}) > 1
    ):
        no_form("norms other than LayerNorm with a bias and one eps")
    return mixer, position, float(norms[0].eps or 0)


def sizes(model: Classifier, tower: VisionTower, mixer: SoftmaxMixer, eps: float) -> dict[str, Any]:
    """The settings that every family has."""
    height, width = tower.image_size
    patch_height, patch_width = tower.patch.patch_size
    return {
        "hidden_size": tower.dim,
        "num_hidden_layers": len(tower.stack.blocks),
        "num_attention_heads": mixer.heads,
        "layer_norm_eps": eps,
        "image_size": height if height == width else [height, width],
        "patch_size": patch_height if patch_height == patch_width else [patch_height, patch_width],
        "num_channels": tower.channels,
        "qkv_bias": mixer.qkv.bias is not None,
    }


def final_norm(tower: PatchTower, foreign: str) -> Rule:
    """The last norm. Ours may stand in the pool, which is the same for one token."""
    return rename(
        f"{foreign}.{{kind}}", "tower.pool.norm.{kind}" if tower.pool.norm_after else "tower.stack.norm.{kind}"
    )


def tokens(prefix: str, placed: bool) -> list[Rule]:
    """Class token and positions; ``placed``: ours has a place for the class token too, as theirs always has. Else it is
    part of our class token, and theirs is zero.
    """
    token, table = f"{prefix}embeddings.cls_token", f"{prefix}embeddings.position_embeddings"
    if not placed:
        return [
            Rule(
                (token, table), ("tower.class_token", "tower.position.places"),
                lambda t: [t[0][0] + t[1][0, :1], t[1][0, 1:]],
                lambda t: [t[0][None], torch.cat([torch.zeros_like(t[0]), t[1]])[None]],
            )
        ]  # fmt: skip
    return [
        Rule((token,), ("tower.class_token",), lambda t: [t[0][0]], lambda t: [t[0][None]]),
        places(table, 1),
    ]


def places(foreign: str, prefix: int) -> Rule:
    """A table of positions whose first ``prefix`` rows are those of prefix tokens."""
    return Rule(
        (foreign,), ("tower.position.prefix_places", "tower.position.places"),
        lambda t: [t[0][0, :prefix], t[0][0, prefix:]], lambda t: [torch.cat(list(t))[None]],
    )  # fmt: skip


def in_one(foreign: Sequence[str], own: str) -> Rule:
    """Tensors of equal size one after the other in ours, written back as separate memory."""

    def apart(tensors: Tensors) -> Tensors:
        return [piece.clone() for piece in tensors[0].chunk(len(foreign))]

    return Rule(tuple(foreign), (own,), lambda tensors: [torch.cat(list(tensors))], apart)


def class_names(config: Mapping[str, Any]) -> list[str] | None:
    """The names of the classes, in order; None where transformers made them up."""
    names = config.get("id2label")
    if not isinstance(names, dict):
        return None
    try:
        ordered = [str(names[key]) for key in sorted(names, key=int)]
    except ValueError:
        return None
    return None if ordered == [f"LABEL_{number}" for number in range(len(ordered))] else ordered


def id2label(model: Classifier) -> dict[str, Any]:
    """How transformers names the classes, from which it also takes their number."""
    names = (model.config or {}).get("classes")
    if not isinstance(names, list) or len(names) != model.num_classes:
        names = [f"LABEL_{number}" for number in range(model.num_classes)]
    return {
        "id2label": {str(number): str(name) for number, name in enumerate(names)},
        "label2id": {str(name): number for number, name in enumerate(names)},
    }


def linear_head(model: Classifier) -> None:
    """Raises UserError unless the head is one linear map with a bias, or none."""
    head = model.head
    if isinstance(head, DistilledHead) or (isinstance(head, nn.Linear) and head.bias is None):
        no_form("distilled head without its pool, or a head without bias")


def no_form(what: str) -> NoReturn:
    """Raises the UserError for a part that transformers lacks."""
    raise UserError(
        f"transformers' models have no {what}, so this model cannot be written for them; export it as "
        "format='triptych' (or, of images, format='timm')."
    )
