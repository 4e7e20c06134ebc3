"""One image looked at: whether it can be read, what it is made of, and what tells it from others."""

import hashlib
import io
import warnings
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from triptych.data.decode import DECODER_ERRORS, FORMATS, decode_image, to_tensor
from triptych.data.source import BadSample, EncodedSource, Source

THUMBNAIL = 12
"""Side of the thumbnail by which near-duplicates are confirmed, in pixels."""

_REDUCED = 72
_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Seen:
    """What is kept of an image: some 700 bytes, however large it is.

    Attributes:
        fault: `empty`, `unopened`, `no_image` or `corrupt`; an empty text for an image that can be read.
        reason: why it cannot be read.
        format: as its content says, such as `JPEG`; an empty text where it was not stored as a file.
        mode: of Pillow, such as `RGB`, `L`, `CMYK`, `I;16`.
        alpha: it has transparency.
        size: width and height in pixels, upright.
        frames: 1, or more of an animation or of a file with several pages.
        turned: its EXIF data turn or mirror it.
        pixels: digest of the decoded RGB pixels.
        gradients: 128 bits, `dhash` of them.
        thumbnail: uint8 `(THUMBNAIL * THUMBNAIL * 3,)` bytes.
    """

    fault: str = ""
    reason: str = ""
    format: str = ""
    mode: str = ""
    alpha: bool = False
    size: tuple[int, int] = (0, 0)
    frames: int = 1
    turned: bool = False
    pixels: bytes = b""
    gradients: bytes = b""
    thumbnail: bytes = b""


def look(source: Source, index: int) -> Seen:
    """Sample `index` of a source, read as training reads it."""
    if not isinstance(source, EncodedSource):
        picture = source.read(index)[0]
        image = picture if isinstance(picture, Tensor) else to_tensor(picture)
        mode = "L" if len(image) == 1 else "RGB"
        return _measured(Seen(mode=mode, size=(image.shape[2], image.shape[1])), image)
    try:
        data = source.encoded(index)
    except BadSample as error:
        return Seen(fault="unopened", reason=str(error))
    if not data:
        return Seen(fault="empty", reason="the file is empty (0 bytes)")
    header = _header(data)
    try:
        image = decode_image(data)
    except BadSample as error:
        image_once = header.format or starts_as_image(data)
        return Seen(fault="corrupt" if image_once else "no_image", reason=str(error), format=header.format)
    return _measured(replace(header, size=(image.shape[2], image.shape[1])), image)


def starts_as_image(data: bytes) -> bool:
    """Whether bytes begin as JPEG, PNG, GIF, BMP, TIFF or WebP files do."""
    marks = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")
    return data.startswith(marks) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def dhash(reduced: np.ndarray) -> bytes:
    """128 bits: whether each of 9 x 9 areas is darker than its right and than its lower neighbour.

    Near-duplicates differ in few of them, whatever their size, format and brightness (the difference hash, with both
    directions).

    Args:
        reduced: float `(72, 72)` grey.
    """
    areas = reduced.reshape(9, 8, 9, 8).mean(axis=(1, 3))
    right = areas[:8, 1:] > areas[:8, :-1]
    down = areas[1:, :8] > areas[:-1, :8]
    return np.packbits(np.concatenate((right.ravel(), down.ravel()))).tobytes()


def _header(data: bytes) -> Seen:
    """What the head of the file says; an empty format where it is that of no image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                seen = Seen(format=image.format or "", mode=image.mode, alpha=image.has_transparency_data)
                return _with_details(seen, image)
    except DECODER_ERRORS:
        return Seen()


def _with_details(seen: Seen, image: Image.Image) -> Seen:
    try:
        turned = image.getexif().get(_ORIENTATION, 1) not in (0, 1)
        frames = int(getattr(image, "n_frames", 1))
    except DECODER_ERRORS:
        # Broken metadata behind a good head: the decoder will say whether the pixels are good.
        return seen
    return replace(seen, turned=turned, frames=frames)


def _measured(seen: Seen, image: UInt8[Tensor, "channels height width"]) -> Seen:
    digest = hashlib.blake2b(str(tuple(image.shape)).encode(), digest_size=16)
    digest.update(image.contiguous().numpy().data)
    rgb = image.expand(3, -1, -1).permute(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(rgb.numpy()))
    small = np.asarray(picture.resize((_REDUCED, _REDUCED), Image.Resampling.BOX), dtype=np.float32)
    side = _REDUCED // THUMBNAIL
    thumbnail = small.reshape(THUMBNAIL, side, THUMBNAIL, side, 3).mean(axis=(1, 3))
    return replace(
        seen,
        pixels=digest.digest(),
        gradients=dhash(small.mean(axis=2)),
        thumbnail=thumbnail.round().astype(np.uint8).tobytes(),
    )
