"""Fine-tuning: weights to start from, and what of them to train."""

from dataclasses import dataclass, field
from typing import Any

from triptych.schema.option import PIXELS, Range, option
from triptych.schema.run import Part, Train


@dataclass
class FullStrategy(Part):
    """Every weight, at one rate."""

    _target_: str = "triptych.strategies.Full"


@dataclass
class LayerDecay(Part):
    """Every weight, the more slowly the nearer to the input."""

    _target_: str = "triptych.strategies.LayerDecay"
    decay: float = option(
        "factor of the learning rate from each layer to the one below it", default=0.75, range=Range(above=0, most=1)
    )


@dataclass
class LowRank(Part):
    """Low-rank adapters and the head (LoRA)."""

    _target_: str = "triptych.strategies.LowRank"
    rank: int = option("rank of each adapter's change", default=8, range=Range(least=1))
    alpha: float = option("size of the change: it is multiplied by alpha / rank", default=16.0, range=Range(above=0))
    dropout: float = option("dropout before each adapter", default=0.0, range=Range(least=0, below=1))
    targets: list[str] = option(
        "linear maps that get an adapter: qkv, out (of the mixer), up or gate_up, down (of the feed-forward)",
        default=["qkv", "out"],
    )


@dataclass
class LinearProbe(Part):
    """The head alone, on features that are computed once."""

    _target_: str = "triptych.strategies.LinearProbe"


@dataclass
class Freeze(Part):
    """All but the embedding and the first blocks; of contrastive towers, those of the images."""

    _target_: str = "triptych.strategies.Freeze"
    blocks: int = option("blocks that stand still, counted from the input", range=Range(least=0))


@dataclass
class Advice:
    """Settings by the number of training pictures and the strategy; filled in when the data are known. To choose one
    yourself set what takes it: trainer.epochs, data.batch_size, optimizer.lr.
    """

    epochs: float = 10.0
    batch_size: int = 64
    lr: float = 1e-4


@dataclass
class Finetune(Train):
    """`triptych finetune`: somebody's weights, made to fit other data and trained on."""

    task: str = option("name of the task; the first folder under `output`", default="finetune")
    weights: str | None = option(
        "model to start from: a run directory, a checkpoint, or a folder or file in a supported format", default=None
    )
    model: Any = None
    strategy: Part = field(default_factory=Part)
    image_size: Any = option(
        "size of the images in pixels, one number or height and width; null: that of the weights. Positions are "
        "resampled",
        default=None,
        range=PIXELS,
    )
    patch_size: Any = option(
        "side of a patch in pixels, or its height and width; null: that of the weights. The patch embedding is "
        "resampled (FlexiViT)",
        default=None,
        range=PIXELS,
    )
    stochastic_depth: float | None = option(
        "share of samples that the last block leaves out in training; null: that of the weights",
        default=None,
        range=Range(least=0, below=1),
    )
    patch_dropout: float | None = option(
        "share of patches left out in training; null: that of the weights", default=None, range=Range(least=0, below=1)
    )
    preprocess: str = option(
        "where mean, std, interpolation and crop come from: the weights, or the configuration of the data",
        default="weights",
        range=Range(choices=("weights", "data")),
    )
    advice: Advice = field(default_factory=Advice)


PLACES: dict[str, tuple[type[Any], ...]] = {
    "strategy": (FullStrategy, LayerDecay, LowRank, LinearProbe, Freeze),
    "advice": (Advice,),
}
