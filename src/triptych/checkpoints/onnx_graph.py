"""A classifier as an ONNX graph, for any batch size and any image size that its patches cover."""

import importlib
import json
import logging
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from triptych.errors import UserError
from triptych.models.classifier import Classifier

INPUT, OUTPUT = "image", "logits"
OPSET = 20  # the first with Gelu; onnxruntime 1.17 and later run it
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# Above this, the weights go to a file beside the graph: a protocol buffer holds 2 GB.
LARGEST_IN_ONE_FILE = 1_500_000_000


class Portable(nn.Module):
    """What is exported: the model, and with ``normalise`` its normalisation before it, so that the graph takes uint8
    pixels.
    """

    def __init__(self, model: Classifier, normalise: bool) -> None:
        super().__init__()
        self.model = model
        self.normalise = normalise

    def forward(self, image: Tensor) -> Tensor:
        return self.model(self.model.preprocess.normalise(image) if self.normalise else image)

    def example(self, batch: int, grid: tuple[int, int]) -> Tensor:
        """A random input of `grid` patches, drawn from a generator of its own."""
        generator = torch.Generator().manual_seed(0)
        height, width = self.size(grid)
        pixels = torch.randint(
            256, (batch, self.model.tower.channels, height, width), dtype=torch.uint8, generator=generator
        )
        return pixels if self.normalise else self.model.preprocess.normalise(pixels)

    def size(self, grid: tuple[int, int]) -> tuple[int, int]:
        """Height and width in pixels of an image of `grid` patches."""
        patch = self.model.tower.patch
        height, width = (
            size + step * (count - 1) for size, step, count in zip(patch.patch_size, patch.stride, grid, strict=True)
        )
        return height, width

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches at the model's own size."""
        return self.model.tower.patch.grid(self.model.tower.image_size)


def require_packages() -> None:
    """Raises UserError, naming the extra, where a package of it is missing."""
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise UserError(
                f"format=onnx needs {error.name}, which is not installed: install the extra, `pip install "
                "'triptych[onnx]'`"
            ) from error


def write_graph(portable: Portable, path: Path, metadata: dict[str, Any], dynamic_size: bool) -> None:
    """Traces the model and writes the graph; `metadata` goes into the file, as text or JSON.

    Raises:
        UserError: some part of the model has no form in ONNX; the message says which way is left.
    """
    patch = portable.model.tower.patch
    sizes = {}
    if dynamic_size:
        # The grid of the example differs from the model's own, and both numbers from 1: nothing is taken for fixed.
        for axis, (name, whole, step) in enumerate(
            zip(("rows", "columns"), patch.patch_size, patch.stride, strict=True), start=2
        ):
            count = step * Dim(name, min=1, max=2**12)
            sizes[axis] = count if whole == step else count + (whole - step)
    shapes = {INPUT: {0: Dim("batch", min=1, max=2**20), **sizes}}
    example = portable.example(2, (portable.grid[0] + 1, portable.grid[1] + 2) if dynamic_size else portable.grid)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about its own parts
        logger = logging.getLogger("torch.onnx")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            traced = torch.export.export(portable, (example,), dynamic_shapes=shapes)
            program = torch.onnx.export(
                traced, (), dynamo=True, opset_version=OPSET, input_names=[INPUT], output_names=[OUTPUT], verbose=False
            )
            assert program is not None
            program.model.metadata_props.update({name: _text(value) for name, value in metadata.items()})
            large = sum(parameter.numel() * 4 for parameter in portable.parameters()) > LARGEST_IN_ONE_FILE
            program.save(str(path), external_data=large)
        except OSError:
            raise
        except Exception as error:  # of many kinds, the exporter's own among them
            raise UserError(_no_graph(error, dynamic_size)) from error
        finally:
            logger.setLevel(level)
    if not large:
        _name_axes(path, dynamic_size)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _no_graph(error: Exception, dynamic_size: bool) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    reason = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)[:200]
    if dynamic_size:
        return f"this model has no ONNX graph for images of any size ({reason}); try dynamic_size=false, its own size"
    return f"this model has no ONNX graph ({reason}); export it as format=triptych"


def _name_axes(path: Path, dynamic_size: bool) -> None:
    """Axes as people call them (`batch`, `16*rows`) instead of the tracer's numbers (`s40`)."""
    import onnx

    graph = onnx.load(path)
    axes = graph.graph.input[0].type.tensor_type.shape.dim
    wanted = {0: "batch"} | ({2: "rows", 3: "columns"} if dynamic_size else {})
    names = {}
    for axis, name in wanted.items():
        symbol = re.search(r"[a-z]\d+", axes[axis].dim_param)
        if symbol:
            names[symbol[0]] = name
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = re.sub(r"[a-z]\d+", lambda found: names.get(found[0], found[0]), axis.dim_param)
    onnx.save(graph, path)
