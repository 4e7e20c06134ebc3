"""A classifier as an ONNX graph, for any batch size and any size of an input that its patches cover."""

import importlib
import json
import logging
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim

from triptych.checkpoints.onnx_inputs import Portable
from triptych.errors import UserError

OUTPUT = "logits"
OPSET = 20  # the first with Gelu; onnxruntime 1.17 and later run it
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# Above this, the weights go to a file beside the graph: a protocol buffer holds 2 GB.
LARGEST_IN_ONE_FILE = 1_500_000_000


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


def write_graph(portable: Portable, path: Path, metadata: dict[str, Any]) -> None:
    """Traces the model and writes the graph; `metadata` goes into the file, as text or JSON.

    Raises:
        UserError: some part of the model has no form in ONNX; the message says which way is left.
    """
    sizes = {axis: size for axis, (_, size) in portable.axes().items()}
    shapes = ({0: Dim("batch", min=1, max=2**20), **sizes},)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about its own parts
        logger = logging.getLogger("torch.onnx")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            # What the tracer cannot prove of every size, that some are not 1 for one, the check finds out.
            traced = torch.export.export(
                portable, (portable.traced(),), dynamic_shapes=shapes, prefer_deferred_runtime_asserts_over_guards=True
            )
            program = torch.onnx.export(
                traced, (), dynamo=True, opset_version=OPSET, input_names=[portable.input], output_names=[OUTPUT],
                verbose=False,
            )  # fmt: skip
            assert program is not None
            program.model.metadata_props.update({name: _text(value) for name, value in metadata.items()})
            large = sum(parameter.numel() * 4 for parameter in portable.parameters()) > LARGEST_IN_ONE_FILE
            program.save(str(path), external_data=large)
        except OSError:
            raise
        except Exception as error:  # of many kinds, the exporter's own among them
            raise UserError(_no_graph(error, portable)) from error
        finally:
            logger.setLevel(level)
    if not large:
        _name_axes(path, portable)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _no_graph(error: Exception, portable: Portable) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    reason = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)[:200]
    if portable.dynamic:
        return f"this model has no ONNX graph for {portable.free} ({reason}); try dynamic_size=false, its own size"
    return f"this model has no ONNX graph ({reason}); export it as format=triptych"


def _name_axes(path: Path, portable: Portable) -> None:
    """Axes as people call them (`batch`, `16*rows`) instead of the tracer's numbers (`s40`)."""
    import onnx

    graph = onnx.load(path)
    axes = graph.graph.input[0].type.tensor_type.shape.dim
    wanted = {0: "batch"} | {axis: name for axis, (name, _) in portable.axes().items()}
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
