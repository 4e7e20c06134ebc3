"""What every form of AST shares (Gong et al., 2021): the tower, and what it wants of its input."""

from dataclasses import dataclass
from typing import Any

from triptych.checkpoints.foreign import part
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.log_mel import LogMel


@dataclass(frozen=True)
class AstShape:
    """The sizes of an AST; ``patch`` and ``stride`` are (frequency, time), in bins and frames. ``eps`` is that of the
    tower's norms and ``head_eps`` that of the head's.
    """

    mel_bins: int
    frames: int
    dim: int
    depth: int
    heads: int
    patch: tuple[int, int]
    stride: tuple[int, int]
    eps: float
    head_eps: float
    qkv_bias: bool = True


def ast_model(shape: AstShape, num_classes: int, feedforward: dict[str, Any], pad_value: float) -> dict[str, Any]:
    """The configuration of a classifier like it. ``pad_value`` fills a clip up that is shorter than one patch."""
    tower = {
        "_target_": "triptych.towers.audio.AudioTower",
        "mel_bins": shape.mel_bins,
        "frames": shape.frames,
        "dim": shape.dim,
        "depth": shape.depth,
        "patch": part("patch.PatchEmbedding", patch_size=list(shape.patch), channels=1, stride=list(shape.stride)),
        "mixer": part("mixers.softmax.SoftmaxMixer", heads=shape.heads, qkv_bias=shape.qkv_bias),
        "feedforward": feedforward,
        "norm": part("norm.LayerNorm", eps=shape.eps),
        "position": part("time_position.LearnedTimePosition", embed_prefix=True),
        "pool": part("pool.PrefixMeanPool"),
        "registers": 1,
        "tail": "drop",
        "pad_value": pad_value,
    }
    return {
        "_target_": "triptych.models.classifier.Classifier",
        "tower": tower,
        "num_classes": num_classes,
        "head": part("head.NormedHead", norm=part("norm.LayerNorm", eps=shape.head_eps)),
    }


def ast_preprocess(front_end: LogMel, frames: int) -> AudioPreprocess:
    """Clips of up to so many frames whole: it has no positions for more."""
    return AudioPreprocess(front_end, front_end.frames.samples(frames) / front_end.sample_rate)
