"""AST as its authors' own code saves it (Gong et al., 2021): a ``.pth`` file of weights without a configuration.

Sizes are read off the weights. Where patches lie is not in the file, but the number of positions tells it for all
models that were published: patches of 16 x 16 every 10, 12, 14 or 16 bins and frames of 128 bins by 1024, 512 or 128
frames. Heads are 64 wide. Nor does the file say which statistics its spectrograms were normalised with: AudioSet's are
taken, and a model that was trained on other data (ESC-50, Speech Commands) must be told its own.
"""

import logging
from pathlib import Path

import torch
from torch import Tensor

from triptych.checkpoints.ast_common import AstShape, ast_model, ast_preprocess
from triptych.checkpoints.foreign import CONFIG, Described, assemble, part, read_tensors
from triptych.checkpoints.remap import moved, rename
from triptych.checkpoints.timm_rules import Shape, rules
from triptych.checkpoints.torch_archive import names_of
from triptych.errors import UserError
from triptych.features.log_mel import LogMel
from triptych.features.mel_presets import ast
from triptych.models.classifier import Classifier

log = logging.getLogger("triptych.checkpoints")

SUFFIXES = (".pth", ".pt", ".bin")
TELLING = ("v.patch_embed.proj.weight", "v.dist_token", "mlp_head.1.weight")
STRIDES, FRAMES = (10, 12, 14, 16), (1024, 512, 128)
HEAD_WIDTH = 64
# timm's, and PyTorch's own in the head.
EPS, HEAD_EPS = 1e-6, 1e-5


def is_ast(path: str | Path) -> bool:
    """True for a weights file of the original AST. Nothing is unpickled to find out."""
    path = Path(path)
    if not path.is_file() or path.suffix not in SUFFIXES or (path.parent / CONFIG).is_file():
        return False
    names = names_of(path)
    return all(name in names for name in TELLING)


def load_ast(
    path: str | Path,
    num_classes: int | None = None,
    frames: int | None = None,
    stride: int | None = None,
    front_end: LogMel | None = None,
) -> Classifier:
    """The classifier saved at ``path``, filled strictly, in float32 and evaluation mode. ``num_classes`` gives it a
    fresh head where it differs from the saved one.

    ``frames`` and ``stride`` are only wanted where the number of positions does not tell them: how many frames the
    positions are for, and how many bins and frames lie between patches. ``front_end`` is the one that the model was
    trained with (`triptych.features.mel_presets.ast` with the ``mean`` and ``std`` of its data); AudioSet's by default.

    Raises UserError where the file is damaged, or another model's, or its positions can be read in no way or several.
    """
    path = Path(path)
    state = _plain(read_tensors(path))
    if missing := [name for name in TELLING if name not in state]:
        raise UserError(f"{path} is no AST of the original code: it has no weight {missing[0]!r}.")
    dim, _, height, width = state["v.patch_embed.proj.weight"].shape
    if dim % HEAD_WIDTH:
        raise UserError(f"{path} has tokens {dim} wide; those of the original AST are a multiple of {HEAD_WIDTH}.")
    bins = 128 if front_end is None else front_end.mel_bins
    stride, frames = _places(path, state["v.pos_embed"].shape[1] - 2, bins, height, stride, frames)
    if front_end is None and frames != FRAMES[0]:
        log.warning(
            "%s was trained on clips of %d frames, and nothing in it says on which data: AudioSet's mean and std are "
            "taken. Where it was another data set, give triptych.checkpoints.ast_original.load_ast its front_end",
            path, frames,
        )  # fmt: skip
    front_end = front_end or ast()
    blocks = {name.split(".")[2] for name in state if name.startswith("v.blocks.")}
    shape = AstShape(
        bins, frames, dim, len(blocks), dim // HEAD_WIDTH, (height, width), (stride, stride), EPS, HEAD_EPS,
        qkv_bias="v.blocks.0.attn.qkv.bias" in state,
    )  # fmt: skip
    hidden = state["v.blocks.0.mlp.fc1.weight"].shape[0] if "v.blocks.0.mlp.fc1.weight" in state else 4 * dim
    feedforward = part("feedforward.GELUFeedForward", hidden_dim=hidden)
    described = Described(
        ast_model(shape, state["mlp_head.1.weight"].shape[0], feedforward, front_end.pad_value),
        [
            *moved(rules(Shape(2, (1, height, width), "plain", distilled=True)), "v.", "tower."),
            rename("mlp_head.0.{kind}", "head.norm.{kind}"),
            rename("mlp_head.1.{kind}", "head.linear.{kind}"),
        ],
        ast_preprocess(front_end, frames).to_dict(),
        unread=tuple(name for name in state if name.startswith("v.head")),  # ImageNet's, which AST's code never uses
    )
    return assemble(described, state, path, num_classes)


def _places(path: Path, count: int, bins: int, size: int, stride: int | None, frames: int | None) -> tuple[int, int]:
    """Stride and frames of so many patches. Raises UserError where there is no such reading, or several."""
    strides, extents = (stride,) if stride else STRIDES, (frames,) if frames else FRAMES
    found = [
        (step, extent)
        for step in strides
        for extent in extents
        if ((bins - size) // step + 1) * ((extent - size) // step + 1) == count
    ]
    rows = 0 if stride is None else (bins - size) // stride + 1
    if not found and frames is None and stride is not None and rows and count % rows == 0:
        return stride, size + (count // rows - 1) * stride
    if len(found) == 1:
        return found[0]
    tried = f"strides of {_listed(strides)} with {_listed(extents)} frames of {bins} bins"
    ways = f"fit several ways (stride, frames): {', '.join(map(str, found))}" if found else f"fit none of {tried}"
    raise UserError(
        f"{path} has positions for {count} patches, which {ways}. Say which it was trained with: "
        "triptych.checkpoints.ast_original.load_ast(path, frames=..., stride=...), and triptych.export the result."
    )


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


def _plain(found: dict[str, object]) -> dict[str, Tensor]:
    """Weights under their plain names, in float32: training on several devices put ``module.`` before each."""
    tensors = {name.removeprefix("module."): value for name, value in found.items() if isinstance(value, Tensor)}
    return {name: value.to(torch.float32) for name, value in tensors.items()}
