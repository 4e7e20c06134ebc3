"""The foreign formats that `triptych.load` reads and `triptych.export` writes. Another one is one line of `FORMATS`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from triptych.checkpoints.ast_original import is_ast, load_ast
from triptych.checkpoints.huggingface import is_huggingface, load_huggingface, save_huggingface
from triptych.checkpoints.open_clip import is_open_clip, load_open_clip, save_open_clip
from triptych.checkpoints.timm import is_timm, load_timm, save_timm


@dataclass(frozen=True)
class Format:
    """A format, by what recognises, reads and writes it; None for what is not done."""

    what: str
    """What it is, for messages."""
    recognises: Callable[[Path], bool] | None
    """Whether what lies at a path is of this format, found out without running or unpickling anything."""
    load: Callable[[Path, int | None], nn.Module] | None
    """A path and the number of classes of a fresh head (None: as saved) to a model in evaluation mode."""
    save: Callable[[nn.Module, Path], None] | None
    """Writes a model to a path that does not exist, whole or not at all."""


def _save_onnx(model: nn.Module, path: Path) -> None:
    from triptych.checkpoints.onnx import save_onnx  # needs an extra

    save_onnx(model, path)


FORMATS: dict[str, Format] = {
    "timm": Format(
        "a timm model (a folder with config.json and model.safetensors, or such a file)", is_timm, load_timm, save_timm
    ),
    "open_clip": Format(
        "a CLIP of open_clip or OpenAI (a folder with open_clip_config.json, or a .pt file)",
        is_open_clip, load_open_clip, save_open_clip,
    ),
    "huggingface": Format(
        "a transformers model (a folder with config.json and model.safetensors, or such a file)",
        is_huggingface, load_huggingface, save_huggingface,
    ),
    "ast": Format("an original AST .pth", is_ast, load_ast, None),
    "onnx": Format("an ONNX graph", None, None, _save_onnx),
}  # fmt: skip


def recognised(path: Path) -> Format | None:
    """The format of what lies at ``path``, None where there is none."""
    return next((f for f in FORMATS.values() if f.recognises is not None and f.recognises(path)), None)
