"""transformers' ViT and DeiT, with a distillation token or without (``models/vit``, ``models/deit``)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from triptych.checkpoints.foreign import Described, part
from triptych.checkpoints.huggingface_common import (
    Expressed,
    activation_of,
    depth_of,
    feedforward_of,
    final_norm,
    in_one,
    linear_head,
    no_form,
    pair,
    places,
    plain_parts,
    prefix_of,
    sizes,
    tokens,
    unread,
    width_of,
)
from triptych.checkpoints.huggingface_preprocess import complete
from triptych.checkpoints.remap import Rule, convolution, rename, reshape
from triptych.models.classifier import Classifier
from triptych.nn.block import Block
from triptych.nn.head import DistilledHead
from triptych.nn.pool import ClassTokenPool, DistilledPool
from triptych.towers.vision import VisionTower

PATCHES = "embeddings.patch_embeddings.projection"
DEFAULTS: dict[str, Any] = {"num_attention_heads": 12, "layer_norm_eps": 1e-12, "image_size": 224}


def describe(config: Mapping[str, Any], state: Mapping[str, Tensor], preprocess: dict[str, Any]) -> Described:
    """A ViT or DeiT, with or without a head. Raises UserError where it has a part that we have not."""
    kind = str(config["model_type"])
    config = {**DEFAULTS, **config}
    prefix = prefix_of(state, f"{PATCHES}.weight", kind)
    dim, channels, *patch_size = state[f"{prefix}{PATCHES}.weight"].shape
    distillation, twice = f"{prefix}embeddings.distillation_token" in state, "cls_classifier.weight" in state
    image_size = pair(config["image_size"])
    head = state.get("cls_classifier.weight" if twice else "classifier.weight")
    tower = {
        "_target_": "triptych.towers.vision.VisionTower",
        "image_size": image_size,
        "dim": dim,
        "depth": depth_of(state, f"{prefix}encoder.layer."),
        "patch": part("patch.PatchEmbedding", patch_size=patch_size, channels=channels),
        "mixer": part(
            "mixers.softmax.SoftmaxMixer",
            heads=int(config["num_attention_heads"]),
            qkv_bias=f"{prefix}encoder.layer.0.attention.attention.query.bias" in state,
        ),
        "feedforward": feedforward_of(
            config,
            "gelu",
            kind,
            hidden_dim=width_of(state, f"{prefix}encoder.layer.0.intermediate.dense.weight", 0, kind),
        ),
        "norm": part("norm.LayerNorm", eps=float(config["layer_norm_eps"])),
        "position": part("position.LearnedPosition", embed_prefix=True, antialias=False),
        "pool": part("pool.DistilledPool" if twice else "pool.ClassTokenPool"),
        "registers": int(distillation),
    }
    model = {
        "_target_": "triptych.models.classifier.Classifier",
        "tower": tower,
        "num_classes": 0 if head is None else head.shape[0],
        **({"head": part("head.DistilledHead")} if twice else {}),
    }
    patch = (channels, patch_size[0], patch_size[1])
    own = rules(prefix, patch, distillation, placed=True, twice=twice)
    return Described(
        model, [*own, rename(f"{prefix}layernorm.{{kind}}", "tower.stack.norm.{kind}")],
        complete(preprocess, image_size, channels), unread=unread(state, prefix),
    )  # fmt: skip


def fits(tower: VisionTower, block: Block) -> bool:
    """Whatever is no other family's."""
    return True


def express(model: Classifier, tower: VisionTower, block: Block) -> Expressed:
    """A ViT, or a DeiT where there is a register with a place, which is its distillation token.

    Raises UserError, naming the part, where neither has one like it.
    """
    mixer, position, eps = plain_parts(tower, block)
    pool, registers = tower.pool, 0 if tower.registers is None else len(tower.registers)
    placed = position.prefix_places is not None
    twice = isinstance(pool, DistilledPool)
    if not isinstance(pool, ClassTokenPool | DistilledPool) or registers > 1 or (registers and not placed):
        no_form(f"{type(pool).__name__} with {registers} registers and no LayerScale")
    if twice and model.num_classes and not isinstance(model.head, DistilledHead):
        no_form("distillation token without a head of its own")
    if not twice:
        linear_head(model)
    kind, name = ("deit", "DeiT") if registers else ("vit", "ViT")
    config = {
        "model_type": kind,
        "architectures": [f"{name}ForImageClassification{'WithTeacher' if twice else ''}"],
        **sizes(model, tower, mixer, eps),
        "hidden_act": activation_of(block),
        "intermediate_size": block.feedforward.up.out_features,  # pyright: ignore[reportAttributeAccessIssue]
    }
    height, width = tower.patch.patch_size
    own = rules(f"{kind}.", (tower.channels, height, width), bool(registers), placed, twice)
    return Expressed(config, [*own, final_norm(tower, f"{kind}.layernorm")])


def rules(prefix: str, patch: tuple[int, int, int], distillation: bool, placed: bool, twice: bool) -> list[Rule]:
    """transformers' names and ours, but for the final norm; ``placed`` as in `tokens`, ``twice``: two heads."""
    theirs, own = f"{prefix}encoder.layer.{{n}}", "tower.stack.blocks.{n}"
    attention = f"{theirs}.attention.attention"
    return [
        *(
            [
                reshape(f"{prefix}embeddings.cls_token", "tower.class_token", (1, 1, -1), (1, -1)),
                reshape(f"{prefix}embeddings.distillation_token", "tower.registers", (1, 1, -1), (1, -1)),
                places(f"{prefix}embeddings.position_embeddings", 2),
            ]
            if distillation
            else tokens(prefix, placed)
        ),
        convolution(f"{prefix}{PATCHES}.weight", patch),
        rename(f"{prefix}{PATCHES}.bias", "tower.patch.projection.bias"),
        rename(f"{theirs}.layernorm_before.{{kind}}", f"{own}.mixer_norm.{{kind}}"),
        in_one([f"{attention}.{part}.{{kind}}" for part in ("query", "key", "value")], f"{own}.mixer.qkv.{{kind}}"),
        rename(f"{theirs}.attention.output.dense.{{kind}}", f"{own}.mixer.out.{{kind}}"),
        rename(f"{theirs}.layernorm_after.{{kind}}", f"{own}.feedforward_norm.{{kind}}"),
        rename(f"{theirs}.intermediate.dense.{{kind}}", f"{own}.feedforward.up.{{kind}}"),
        rename(f"{theirs}.output.dense.{{kind}}", f"{own}.feedforward.down.{{kind}}"),
        *(
            [
                rename("cls_classifier.{kind}", "head.of_class.{kind}"),
                rename("distillation_classifier.{kind}", "head.of_distillation.{kind}"),
            ]
            if twice
            else [rename("classifier.{kind}", "head.{kind}")]
        ),
    ]  # fmt: skip
