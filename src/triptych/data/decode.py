"""Bytes of an image file to uint8 pixels. Strict: what is not a whole, plain image of a listed format is refused."""

import io
import struct
import warnings
import zlib

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from triptych.data.source import BadSample

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Decoders that may run. Pillow knows many more, some of which start other programs (EPS) or are hardly tested."""

EXTENSIONS = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm")
"""File name endings of `FORMATS`, lower case."""

MAX_IMAGE_PIXELS = 89_478_485
"""Above this an image is taken for a decompression bomb: 256 MiB of RGB, Pillow's own threshold for a warning."""

# Everything that Pillow's decoders raise on malformed bytes. TypeError, IndexError, KeyError and the like come out of
# parsers that trust a length field; MemoryError out of a header that promises too much.
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    ArithmeticError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def decode_image(data: bytes, channels: int = 3) -> UInt8[Tensor, "channels height width"]:
    """Pixels of an image file: upright (EXIF orientation applied), grey or RGB, transparency laid over white.

    Args:
        data: the whole file.
        channels: 3 for RGB, 1 for grey.

    Raises:
        BadSample: empty, truncated, not of a format in `FORMATS`, broken, or above `MAX_IMAGE_PIXELS`.
    """
    if not data:
        raise BadSample("the file is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata and of large images; the first is harmless, the second is checked below.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                pixels = image.width * image.height
                if pixels > MAX_IMAGE_PIXELS:
                    raise BadSample(
                        f"{image.width} x {image.height} = {pixels} pixels, above the limit of {MAX_IMAGE_PIXELS}"
                    )
                return to_tensor(ImageOps.exif_transpose(image), channels)
    except Image.UnidentifiedImageError:
        raise BadSample(f"not an image of a known format ({', '.join(FORMATS)})") from None
    except DECODER_ERRORS as error:
        raise BadSample(f"cannot be decoded: {str(error) or type(error).__name__}") from error


def to_tensor(image: Image.Image, channels: int = 3) -> UInt8[Tensor, "channels height width"]:
    """Pixels of a PIL image of any mode as grey or RGB.

    Raises:
        BadSample: floating-point pixels, whose range nothing tells.
    """
    flat = _without_alpha(_eight_bit(image)).convert("RGB" if channels == 3 else "L")
    pixels = np.array(flat)
    if channels == 1:
        return torch.from_numpy(pixels)[None]
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits: Pillow's own conversion clips at 255, which turns such images white."""
    if image.mode == "F":
        raise BadSample("floating-point pixels: save the image with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    return image


def _without_alpha(image: Image.Image) -> Image.Image:
    """Transparent images laid over white, the paper that drawings are made for."""
    if not image.has_transparency_data:
        return image
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba)
