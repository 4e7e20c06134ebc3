"""The configuration of `triptych export`."""

from dataclasses import dataclass, field

from triptych.schema.evaluate import Given
from triptych.schema.option import Range, option

FORMATS = ("onnx", "timm", "open_clip", "huggingface", "triptych")


@dataclass
class Export:
    """`triptych export`: a trained model in another program's format, with a model card."""

    checkpoint: Given = field(default_factory=Given)
    format: str = option(
        "of classifiers onnx (for onnxruntime and its like; needs the extra `onnx`) or timm, of contrastive towers "
        "open_clip, of both huggingface (for transformers) or triptych",
        range=Range(choices=FORMATS),
    )
    out: str = option("folder to make; it must not exist")
    normalise: bool = option(
        "onnx: the graph takes uint8 pixels and normalises them itself; false: it takes normalised float32",
        default=True,
    )
    dynamic_size: bool = option(
        "onnx: the graph takes images of any size that patches cover; false: of the model's own size only",
        default=True,
    )
    task: str = option("name of the task", default="export")
    allow_targets: list[str] = option("packages of your own whose classes the checkpoint may name", default=[])
