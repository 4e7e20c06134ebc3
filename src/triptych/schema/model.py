"""Models and the parts that towers are composed of."""

from dataclasses import dataclass, field
from typing import Any

from triptych.schema.option import PIXELS, Range, option
from triptych.schema.pool import POOLS
from triptych.schema.position import COORDINATES, POSITIONS
from triptych.schema.run import Part

_RATE = Range(least=0, below=1)


@dataclass
class Softmax(Part):
    """Softmax self-attention with fused projections."""

    _target_: str = "triptych.nn.mixers.softmax.SoftmaxMixer"
    _partial_: bool = True
    heads: int = option("attention heads; must divide the width `dim`", range=Range(least=1))
    kv_heads: int | None = option(
        "heads of keys and values, each shared by several query heads; must divide `heads`; null: as many as `heads`",
        default=None,
        range=Range(least=1),
    )
    qkv_bias: bool = option("bias in the projection to queries, keys and values", default=True)
    key_bias: bool = option("bias of the keys beside those of queries and values; EVA-02 has none", default=True)
    out_bias: bool = option("bias in the output projection", default=True)
    qk_norm: Part | None = option(
        "normalisation of queries and keys, such as the norm of choice; null for none", default=None
    )


@dataclass
class FeedForward(Part):
    """Two linear layers with a non-linearity or a gate between them, for each token by itself."""

    _target_: str = "???"
    _partial_: bool = True
    hidden_ratio: float = option("inner width as a multiple of `dim`", default=4.0, range=Range(above=0))
    hidden_dim: int | None = option("inner width itself; overrides hidden_ratio", default=None, range=Range(least=1))
    bias: bool = option("biases in both layers", default=True)
    inner_norm: Part | None = option(
        "normalisation of what enters the last layer, such as the norm of choice; null for none", default=None
    )


@dataclass
class Gelu(FeedForward):
    """Feed-forward with GELU."""

    _target_: str = "triptych.nn.feedforward.GELUFeedForward"
    approximate: str = option("form of GELU", default="none", range=Range(choices=("none", "tanh")))


@dataclass
class QuickGelu(FeedForward):
    """Feed-forward with x * sigmoid(1.702 x), as OpenAI's CLIP has it."""

    _target_: str = "triptych.nn.feedforward.QuickGELUFeedForward"


@dataclass
class SwiGlu(FeedForward):
    """Feed-forward with a SiLU gate."""

    _target_: str = "triptych.nn.feedforward.SwiGLUFeedForward"
    hidden_ratio: float = option(
        "inner width as a multiple of `dim`, rounded to a multiple of 8", default=8 / 3, range=Range(above=0)
    )


@dataclass
class GeGlu(SwiGlu):
    """Feed-forward with a GELU gate."""

    _target_: str = "triptych.nn.feedforward.GeGLUFeedForward"


@dataclass
class LayerNorm(Part):
    """Layer normalisation."""

    _target_: str = "triptych.nn.norm.LayerNorm"
    _partial_: bool = True
    eps: float = option("added to the variance", default=1e-6, range=Range(above=0))
    bias: bool = option("a learned shift beside the learned scale", default=True)


@dataclass
class RmsNorm(Part):
    """Root-mean-square normalisation: no mean is taken off, no shift is learned."""

    _target_: str = "triptych.nn.norm.RMSNorm"
    _partial_: bool = True
    eps: float = option("added to the mean square", default=1e-6, range=Range(above=0))


@dataclass
class Patch(Part):
    """Images to patches to tokens."""

    _target_: str = "triptych.nn.patch.PatchEmbedding"
    _partial_: bool = True
    patch_size: Any = option("side of a patch in pixels, or its height and width", range=PIXELS)
    channels: int | None = option(
        "colour channels of the images; null: as many as the data have", default=None, range=Range(least=1)
    )
    stride: Any = option(
        "pixels from patch to patch; null: the patch size, so that patches do not overlap", default=None, range=PIXELS
    )
    bias: bool = option("bias in the projection", default=True)


@dataclass
class ConvolutionalPatch(Patch):
    """Patches to tokens through a few convolutions within each."""

    _target_: str = "triptych.nn.convolutional_patch.ConvolutionalPatchEmbedding"
    widths: list[int] = option("channels of each layer, divisible by 8", default=[16, 32, 32])
    kernels: list[Any] = option("side of each layer's kernel, or its height and width; odd", default=[[5, 3]] * 3)
    strides: list[Any] = option("stride of each layer, or its height and width", default=[[2, 1], [2, 2], [2, 1]])


@dataclass
class Glorot(Part):
    """Linear maps start normal, of variance 2 / (inputs + outputs)."""

    _target_: str = "triptych.nn.init.glorot"
    _partial_: bool = True


@dataclass
class SmallNormal(Part):
    """Linear maps start normal, of one deviation."""

    _target_: str = "triptych.nn.init.small_normal"
    _partial_: bool = True
    deviation: float = option("standard deviation of the weights", default=0.02, range=Range(above=0))


@dataclass
class VisionTower(Part):
    """A vision transformer: images to an embedding."""

    _target_: str = "triptych.towers.vision.VisionTower"
    image_size: Any = option("side of the images in pixels, or height and width", range=PIXELS)
    dim: int = option("width of the tokens", range=Range(least=1))
    depth: int = option("number of blocks", range=Range(least=1))
    patch: Patch = field(default_factory=Patch)
    mixer: Part = field(default_factory=Part)
    feedforward: Part = field(default_factory=Part)
    norm: Part = field(default_factory=Part)
    position: Part = field(default_factory=Part)
    pool: Part = field(default_factory=Part)
    registers: int = option("learned tokens beside the class token", default=0, range=Range(least=0))
    layer_scale: float | None = option(
        "initial gain of each residual branch; null for no gain", default=None, range=Range(above=0)
    )
    stochastic_depth: float = option(
        "share of samples that the last block's branches leave out in training, growing linearly from 0 at the first",
        default=0.0,
        range=_RATE,
    )
    patch_dropout: float = option("share of patches left out in training", default=0.0, range=_RATE)
    init: Part = field(default_factory=Part)
    input_norm: Part | None = option(
        "normalisation of what enters the first block, such as the norm of choice, as CLIP has it; null for none",
        default=None,
    )


@dataclass
class TimmTower(Part):
    """Any architecture of timm, without its head."""

    _target_: str = "triptych.towers.timm.TimmTower"
    name: str = option("architecture, as timm.list_models() has them, such as resnet18")
    image_size: Any = option("side of the images in pixels, or height and width", default=224, range=PIXELS)
    channels: int | None = option(
        "colour channels of the images; null: as many as the data have", default=None, range=Range(least=1)
    )
    pretrained: bool = option("start from the weights of that name, fetched from timm's hub once", default=False)
    stochastic_depth: float | None = option(
        "share of samples that the last branches leave out in training; null: as the architecture has it",
        default=None,
        range=_RATE,
    )
    dropout: float | None = option(
        "share of the embedding left out before the head; null: as the architecture has it", default=None, range=_RATE
    )


@dataclass
class DistilledHead(Part):
    """The mean of two classifiers, of the class token and of the distillation token (DeiT)."""

    _target_: str = "triptych.nn.head.DistilledHead"
    _partial_: bool = True


@dataclass
class Classifier(Part):
    """A tower with a head over classes."""

    _target_: str = "triptych.models.classifier.Classifier"
    tower: Part = field(default_factory=Part)
    head: Part | None = option("a head that is more than one linear map; null: one linear map", default=None)
    num_classes: int | None = option(
        "classes of the head; null: as many as the data have", default=None, range=Range(least=1)
    )


PLACES: dict[str, tuple[type[Any], ...]] = {
    "model": (Classifier,),
    "model.tower": (VisionTower, TimmTower),
    "model.head": (DistilledHead,),
    "model.tower.patch": (Patch, ConvolutionalPatch),
    "model.tower.mixer": (Softmax,),
    "model.tower.mixer.qk_norm": (LayerNorm, RmsNorm),
    "model.tower.feedforward": (Gelu, QuickGelu, SwiGlu, GeGlu),
    "model.tower.feedforward.inner_norm": (LayerNorm, RmsNorm),
    "model.tower.norm": (LayerNorm, RmsNorm),
    "model.tower.input_norm": (LayerNorm, RmsNorm),
    "model.tower.position": POSITIONS,
    "model.tower.init": (Glorot, SmallNormal),
    "model.tower.position.coordinates": COORDINATES,
    "model.tower.pool": POOLS,
    "model.tower.pool.feedforward": (Gelu, QuickGelu, SwiGlu, GeGlu),
}


def takes_channels(model: dict[str, Any]) -> dict[str, Any]:
    """The part of a plain model configuration whose `channels` says how many colour channels the images have."""
    towers = model.get("towers", {})
    tower = towers.get("image") or towers.get("audio") or model.get("tower", {})
    return tower.get("patch", tower)
