"""transformers' ``preprocessor_config.json`` and our `Preprocess`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from triptych.errors import UserError
from triptych.features.preprocess import Preprocess

# The numbers of PIL's filters.
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


def preprocess_from(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What an image processor's settings are in ours, as far as they say.

    Raises UserError where it does what `Preprocess` does not.
    """
    if not config.get("do_rescale", True):
        raise UserError(f"{path} has do_rescale=false; Triptych scales pixels to 0..1 before it normalises them.")
    resample = config.get("resample", 2)
    if resample not in RESAMPLE:
        raise UserError(f"{path} has resample={resample!r}; Triptych reads {', '.join(map(str, RESAMPLE))}.")
    mean, std = config.get("image_mean"), config.get("image_std")
    found: dict[str, Any] = {"interpolation": RESAMPLE[resample]}
    if not config.get("do_normalize", True):
        mean, std = [0.0] * len(mean or (0, 0, 0)), [1.0] * len(mean or (0, 0, 0))
    if mean is not None and std is not None:
        found |= {"mean": [float(x) for x in mean], "std": [float(x) for x in std]}
    size = config.get("size")
    if not config.get("do_resize", True) or size is None:
        return found
    cut = _sides(config.get("crop_size", size), path) if config.get("do_center_crop", False) else None
    if isinstance(size, dict) and set(size) == {"shortest_edge"}:
        short = int(size["shortest_edge"])
        target = cut or (short, short)
        return {**found, "image_size": list(target), "crop": crop_share(min(target), short), "mode": "center"}
    full = _sides(size, path)
    target = cut or full
    shares = {crop_share(inner, outer) for inner, outer in zip(target, full, strict=True)}
    if len(shares) > 1:
        raise UserError(f"{path} resizes to {full} and cuts out {target}; Triptych cuts the same share of both sides.")
    return {**found, "image_size": list(target), "crop": shares.pop(), "mode": "squash"}


def complete(found: dict[str, Any], image_size: Sequence[int], channels: int) -> dict[str, Any]:
    """Our settings, with what was not said filled in for a tower of this image size and these channels."""
    filled = {
        "image_size": list(image_size), "mean": [0.5] * channels, "std": [0.5] * channels, "interpolation": "bicubic",
        "crop": 1.0, "mode": "squash",
    }  # fmt: skip
    return {**filled, **found}


def preprocessor_of(preprocess: Preprocess) -> dict[str, Any]:
    """The settings of an image processor that does the same. Raises UserError where there is none."""
    if preprocess.native is not None:
        raise UserError(
            "transformers has no image processor that leaves each image its own size; set model.preprocess to one size "
            "(native=None)."
        )
    height, width = preprocess.image_size
    resized = [math.floor(side / preprocess.crop) for side in preprocess.image_size]
    common = {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
        "resample": {name: number for number, name in RESAMPLE.items()}[preprocess.interpolation],
    }
    crop = {"do_center_crop": True, "crop_size": {"height": height, "width": width}}
    full = {"height": resized[0], "width": resized[1]}
    if preprocess.mode == "squash":
        kind = {"image_processor_type": "ViTImageProcessor"} if resized == [height, width] else {
            "image_processor_type": "DeiTImageProcessor", **crop
        }  # fmt: skip
        return {**kind, **common, "size": full}
    if preprocess.mode == "center" and height == width:
        return {"image_processor_type": "BitImageProcessor", **common, **crop, "size": {"shortest_edge": resized[0]}}
    raise UserError(
        f"transformers has no image processor for mode={preprocess.mode!r} and image_size={preprocess.image_size}; set "
        "model.preprocess to mode='squash', or to a square image_size with mode='center'."
    )


def crop_share(inner: int, outer: int) -> float:
    """The share ``crop`` with which `Preprocess` resizes ``inner`` to exactly ``outer``."""
    if inner > outer:
        raise UserError(f"The image processor cuts {inner} pixels out of {outer}, which needs padding.")
    share = inner / outer
    return share if math.floor(inner / share) == outer else math.nextafter(share, 0)


def _sides(size: Any, path: Path) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if isinstance(size, dict) and {"height", "width"} <= set(size):
        return int(size["height"]), int(size["width"])
    raise UserError(f"{path} has size={size!r}; Triptych reads a number, height and width, or shortest_edge.")
