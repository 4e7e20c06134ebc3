"""Export to ONNX, never without a check: onnxruntime must give the model's own numbers before a file is left."""

import copy
import importlib.metadata
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from triptych.checkpoints.files import new_folder, write_file
from triptych.checkpoints.onnx_graph import OUTPUT, require_packages, write_graph
from triptych.checkpoints.onnx_inputs import Portable, PortableImages, PortableSpectrograms
from triptych.errors import UserError
from triptych.models.classifier import Classifier
from triptych.towers.audio import AudioTower
from triptych.towers.vision import VisionTower

GRAPH, CONFIG = "model.onnx", "config.json"
TOLERANCE = 1e-4
_TIMED_RUNS, _TIMED_SECONDS = 20, 1.0


@dataclass(frozen=True)
class OnnxCheck:
    """How an exported graph compares with the model it was made of, both on this machine's CPU.

    ``shapes``: the inputs tried. ``difference``: the largest absolute difference of a logit. ``milliseconds`` and
    ``model_milliseconds``: the median time of one sample in onnxruntime and in PyTorch, with as many ``threads`` each.
    """

    shapes: list[tuple[int, ...]]
    difference: float
    milliseconds: float
    model_milliseconds: float
    threads: int
    runtime: str

    def __str__(self) -> str:
        tried = ", ".join("x".join(map(str, shape)) for shape in self.shapes)
        return (
            f"onnxruntime {self.runtime} agrees with PyTorch to {self.difference:.1e} at {tried}; one sample takes "
            f"{self.milliseconds:.2f} ms ({self.model_milliseconds:.2f} ms in PyTorch) with {self.threads} CPU threads"
        )


def save_onnx(model: nn.Module, path: str | Path, normalise: bool = True, dynamic_size: bool = True) -> OnnxCheck:
    """Writes a classifier as a new folder with ``model.onnx`` and ``config.json``, checked against onnxruntime.

    The graph of images takes ``image`` ``(batch, channels, height, width)`` and gives ``logits`` ``(batch, classes)``.
    Batch and, with ``dynamic_size``, height and width are free, as long as patches cover the image; positions are
    resampled in the graph. With ``normalise`` it takes uint8 pixels of the size that the preprocess says, else float32
    that is normalised already.

    That of an audio classifier takes ``mel`` ``(batch, frames, mel_bins)``, float32 as the front end makes it, which
    stays outside whatever ``normalise`` says. With ``dynamic_size`` frames are free from the length of a patch on, and
    positions are cut or stretched in the graph; clips of one batch have one length, for padding would be heard.

    Classes and preprocess are in the graph's metadata, and in ``config.json``.

    Raises:
        UserError: the extra `onnx` is missing, `path` exists or names a file, the model is no classifier or has no form
            in ONNX, or onnxruntime gives other numbers; nothing is left then.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        raise UserError(
            f"{path} names a file, but a folder is written ({GRAPH} and {CONFIG}): say {path.with_suffix('')}"
        )
    if not isinstance(model, Classifier):
        raise UserError(f"only a Classifier can be written as ONNX, not a {type(model).__name__}")
    if not isinstance(model.tower, VisionTower | AudioTower):
        raise UserError(
            f"only a VisionTower or an AudioTower can be written as ONNX, not a {type(model.tower).__name__}"
        )
    if not dynamic_size and getattr(model.preprocess, "native", None) is not None:
        raise UserError(
            "the model was trained on images of their own sizes, and dynamic_size=false makes a graph for one size: "
            "leave dynamic_size at true"
        )
    require_packages()
    portable = _portable(copy.deepcopy(model).cpu().float(), normalise, dynamic_size).eval()
    described = _description(model, portable)
    with new_folder(path) as staging:
        write_graph(portable, staging / GRAPH, described)
        check = _check(portable, staging / GRAPH)
        write_file(staging / CONFIG, [json.dumps(described, indent=2, ensure_ascii=False).encode()])
    return check


def _portable(model: Classifier, normalise: bool, dynamic: bool) -> Portable:
    if isinstance(model.tower, AudioTower):
        return PortableSpectrograms(model, dynamic)
    return PortableImages(model, dynamic, normalise)


def _description(model: Classifier, portable: Portable) -> dict[str, Any]:
    return {
        **portable.facts(),
        "output": f"{OUTPUT}: (batch, {model.num_classes})",
        "classes": list((model.config or {}).get("classes", [])),
        "preprocess": model.preprocess.to_dict(),
        "producer": f"triptych {importlib.metadata.version('triptych')}",
    }


def _check(portable: Portable, file: Path) -> OnnxCheck:
    """Raises UserError where a logit differs by more than `TOLERANCE` (of the largest logit, if that is above 1)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # as many as PyTorch, for times that can be compared
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    shapes, worst = [], 0.0

    def run(example: Tensor) -> np.ndarray:
        return np.asarray(session.run(None, {portable.input: example.numpy()})[0])

    with torch.no_grad():
        for example in portable.examples():
            wanted, got = portable(example).numpy(), run(example)
            difference = float(np.abs(wanted - got).max()) if wanted.shape == got.shape else float("inf")
            if not difference <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
                raise UserError(
                    f"the ONNX graph was not kept: for an input of {tuple(example.shape)}, onnxruntime and the model "
                    f"differ by {difference:.1e} in a logit, and at most {TOLERANCE:.0e} is taken. Please report this "
                    "model; format=triptych keeps its weights"
                )
            shapes.append(tuple(example.shape))
            worst = max(worst, difference)
        one = portable.samples(1)[0]
        times = _milliseconds(lambda: run(one)), _milliseconds(lambda: portable(one))
    return OnnxCheck(shapes, worst, *times, torch.get_num_threads(), onnxruntime.__version__)


def _milliseconds(call: Callable[[], object]) -> float:
    """The median of at most `_TIMED_RUNS` calls, after one to warm up."""
    call()
    times: list[float] = []
    while len(times) < _TIMED_RUNS and sum(times) < _TIMED_SECONDS:
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return 1000 * statistics.median(times)
