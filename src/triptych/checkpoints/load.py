"""`triptych.load` and `triptych.export`: any supported checkpoint in, any supported format out."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from torch import nn

from triptych.checkpoints.bounded import build_bounded
from triptych.checkpoints.find import BEST, DISTRIBUTED, LAST, distributed, find_checkpoint, is_checkpoint, is_run
from triptych.checkpoints.format import PREFIX, has_weights, read_config, read_weights, write_checkpoint
from triptych.checkpoints.formats import FORMATS, recognised
from triptych.checkpoints.manifest import EMA, MODEL
from triptych.checkpoints.resize import resized
from triptych.checkpoints.resize_audio import with_frames
from triptych.errors import UserError
from triptych.features.audio_preprocess import preprocess_from_dict
from triptych.nn.lora import fold_adapters
from triptych.nn.patch import Size

PICKLES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})
SUPPORTED = "a Triptych run directory (its checkpoints/best, else last), a Triptych checkpoint folder, " + ", ".join(
    known.what for known in FORMATS.values() if known.load is not None
)


def load(
    path: str | Path,
    num_classes: int | None = None,
    weights: str = "ema",
    allow: tuple[str, ...] = (),
    image_size: Size | None = None,
    patch_size: Size | None = None,
    frames: int | None = None,
) -> nn.Module:
    """A model with its weights from a local checkpoint in any supported format, in evaluation mode, on CPU.

    The format is found out from what lies there. Nothing is unpickled that needs code, and a model's config only
    names classes of Triptych and `torch.nn`.

    Args:
        path: a run directory, a checkpoint folder, a `last` or `best` link, or a folder or file of timm or
            transformers.
        num_classes: a new head of this size instead of the saved one, if it differs; 0 for none.
        weights: "ema" takes the moving average where the checkpoint has one, else the trained weights; "raw" takes
            the latter always.
        allow: packages of your own that the model's config may name besides.
        image_size, patch_size: in pixels, one number or (height, width): other sizes than the saved ones, to which the
            patch embedding (Beyer et al., 2023, "FlexiViT") and the positions are resampled for good. Without them a
            vision tower takes images of other sizes too, its positions resampled for each batch.
        frames: of spectrograms, another number than the saved one for which an audio tower has positions, to which
            they are cut or stretched for good as AST does (Gong et al., 2021). Without it clips of other lengths are
            taken too.

    Raises:
        UserError: nothing there (a near miss is named), no supported format, a damaged or foreign checkpoint.
    """
    model = _load(Path(path), num_classes, weights, allow)
    if frames is not None:
        model = with_frames(model, frames, allow)
    if image_size is None and patch_size is None:
        return model
    return resized(model, image_size, patch_size, allow)


def _load(path: Path, num_classes: int | None, weights: str, allow: tuple[str, ...]) -> nn.Module:
    if weights not in ("ema", "raw"):
        raise UserError(f"weights is {weights!r}; expected 'ema' or 'raw'")
    if not path.exists() and not path.is_symlink():
        raise UserError(f"{path} does not exist{_near(path)}. triptych.load reads {SUPPORTED}")
    if is_checkpoint(path) or is_run(path) or (path.is_symlink() and path.name in (LAST, BEST)):
        return _load_own(find_checkpoint(path, prefer=(BEST, LAST)), num_classes, weights, allow)
    known = recognised(path)
    if known is not None and known.load is not None:
        return known.load(path, num_classes)
    raise UserError(f"{path} is {_found(path)}; triptych.load reads {SUPPORTED}")


def export(model: nn.Module, path: str | Path, format: str = "triptych") -> None:
    """Write a model's weights as a new folder, so that what reads the format finds no missing or unexpected key.

    "triptych" needs to know how the model was made: its `config` (`{"model": config with _target_, ...}`), which
    `load` sets. "timm" is for timm's hub reader. "onnx" is a graph that takes uint8 pixels of any size, checked against
    onnxruntime; `triptych.checkpoints.onnx.save_onnx` has its settings.

    Raises:
        UserError: an unknown format, a model without a form in it, `path` exists, or the save failed.
    """
    if format == "triptych":
        return _save_own(model, Path(path))
    save = FORMATS[format].save if format in FORMATS else None
    if save is None:
        written = [name for name, known in FORMATS.items() if known.save is not None]
        raise UserError(f"format is {format!r}; triptych.export writes {', '.join(['triptych', *written])}")
    save(model, Path(path))


def _save_own(model: nn.Module, path: Path) -> None:
    config = getattr(model, "config", None)
    if not isinstance(config, dict) or "model" not in config:
        raise UserError("this model does not know its config (model.config = {'model': {...}}), which the format keeps")
    state = {f"{PREFIX}{name}": tensor for name, tensor in model.state_dict().items()}
    write_checkpoint(path, {"state_dict": state, "triptych": {"config": config}})


def _load_own(folder: Path, num_classes: int | None, weights: str, allow: tuple[str, ...]) -> nn.Module:
    config = read_config(folder)
    if not isinstance(config.get("model"), dict):
        raise UserError(f"{folder} does not say which model it holds: its config.json has no 'model'")
    name = EMA if weights == "ema" and has_weights(folder, EMA) else MODEL
    state = read_weights(folder, name)
    if name == EMA:
        # An average covers the parameters; what else the model holds (running statistics) is in the weights.
        state = read_weights(folder, MODEL) | state
    built = build_bounded(config["model"], state, allow, folder)
    if not isinstance(built, nn.Module):
        raise UserError(f"the config.json of {folder} describes a {type(built).__name__}, not a model")
    model = cast(Any, built)
    adapters = config.pop("adapters", None)
    if adapters:
        adapt = build_bounded(adapters, state, allow, folder)
        if not callable(adapt):
            raise UserError(f"the config.json of {folder} has adapters that are none, but a {type(adapt).__name__}")
        try:
            adapt(model)
        except (AttributeError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(f"the adapters in the config.json of {folder} do not fit its model: {error}") from error
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    different = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    if missing or unexpected or different:
        raise UserError(
            f"the weights in {folder} do not fit the model that its config.json describes: "
            f"missing {missing[:3]}, unexpected {unexpected[:3]}, of another shape {sorted(different)[:3]}"
        )
    model.load_state_dict(state)
    if adapters:
        fold_adapters(model).requires_grad_(True)
    model.config = config
    if "preprocess" in config:
        try:
            model.preprocess = preprocess_from_dict(config["preprocess"])
        except (TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"the preprocess in the config.json of {folder} is not one of this version: {error}"
            ) from error
    if num_classes is not None and not hasattr(model, "reset_head"):
        raise UserError(f"{folder} holds a {type(model).__name__}, which has no head; leave num_classes out")
    if num_classes is not None and num_classes != model.num_classes:
        model.reset_head(num_classes)
        config["model"]["num_classes"] = num_classes
        config.pop("classes", None)
    return model.eval()


def _found(path: Path) -> str:
    if (path / DISTRIBUTED).exists():
        return f"a checkpoint of torch.distributed.checkpoint. {distributed(path)}"
    if path.is_dir():
        names = sorted(entry.name for entry in path.iterdir())
        return f"a folder with {', '.join(names[:5]) or 'nothing in it'}{', ...' if len(names) > 5 else ''}"
    if path.suffix in PICKLES:
        return (
            "a pickle without a config.json of timm or transformers beside it, and none is ever run to find out "
            "what it holds"
        )
    if path.suffix == ".safetensors":
        return (
            "a file of weights without what says how their model is made (a config.json beside it): give the folder "
            "that it is from, whole"
        )
    return f"a file of {path.stat().st_size} bytes"


def _near(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return f", nor does its folder {parent}"
    near = get_close_matches(path.name, [entry.name for entry in parent.iterdir()], n=1)
    return f"; did you mean {parent / near[0]}?" if near else f"; {parent} holds nothing of a similar name"
