"""From a drawing to a small picture: render large, flatten on white, scale down, and store as lossy WebP."""

import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .icons import Icon

OVERSAMPLING = 4  # an SVG is rendered this many times larger than stored, then scaled down like the bitmaps


def load_renderer() -> Any:
    """The module `resvg_py`. Imported on use: only the builder needs it, the project does not.

    Raises:
        SystemExit: if it is not installed.
    """
    try:
        return importlib.import_module("resvg_py")
    except ModuleNotFoundError as error:
        raise SystemExit("resvg_py is missing; start this tool with `uv run tools/build_emoji.py`") from error


def render(icon: Icon, size: int, renderer: Any) -> Image.Image:
    """`icon` as an RGBA picture whose longer side is `size` pixels, without system fonts: they differ by machine."""
    scale = size / max(icon.width, icon.height)
    width, height = round(icon.width * scale), round(icon.height * scale)
    png = renderer.svg_to_bytes(svg_string=icon.svg(), width=width, height=height, skip_system_fonts=True)
    return Image.open(io.BytesIO(png)).convert("RGBA")


def flatten(picture: Image.Image, size: int) -> Image.Image:
    """`picture` centred on a white square and scaled to `size` pixels, RGB."""
    side = max(picture.size)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)


def draw_icon(icon: Icon, size: int, renderer: Any) -> Image.Image:
    """An SVG drawing as it is stored, before compression."""
    return flatten(render(icon, size * OVERSAMPLING, renderer), size)


def draw_file(path: Path, size: int) -> Image.Image:
    """A bitmap file as it is stored, before compression."""
    with Image.open(path) as picture:
        return flatten(picture.convert("RGBA"), size)


def encode(picture: Image.Image, quality: int) -> bytes:
    """Lossy WebP bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=quality, method=6)
    return buffer.getvalue()


def decode(data: bytes) -> np.ndarray:
    """WebP bytes as uint8 (height, width, 3)."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def is_blank(pixels: np.ndarray) -> bool:
    """Whether a picture shows (nearly) one colour only; uint8 (height, width, 3)."""
    return float(pixels.std(axis=(0, 1)).max()) < 4.0
