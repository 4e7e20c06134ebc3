"""Whole images come out right whatever their mode; anything else is refused with its reason."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from triptych.data import decode
from triptych.data.decode import decode_image, to_tensor
from triptych.data.source import BadSample


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def ramp() -> np.ndarray:
    return np.arange(0, 256, dtype=np.uint8).reshape(16, 16)


COLOUR = Image.fromarray(np.stack([ramp(), ramp().T, 255 - ramp()], axis=-1))
JPEG = saved(COLOUR, "jpeg", quality=95)


@pytest.mark.parametrize("kind", ["png", "webp", "bmp", "tiff", "ppm"])
def test_pixels_come_back(kind: str) -> None:
    data = saved(COLOUR, kind, lossless=True) if kind == "webp" else saved(COLOUR, kind)
    expected = torch.from_numpy(np.array(COLOUR)).permute(2, 0, 1)
    assert torch.equal(decode_image(data), expected)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "RGB"])
def test_opaque_modes_become_rgb_of_the_same_colour(mode: str) -> None:
    image = Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode)
    assert torch.equal(to_tensor(image), torch.full((3, 8, 8), 255, dtype=torch.uint8))


def test_cmyk_jpeg_keeps_its_colours() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red_pixels = decode_image(saved(red, "jpeg", quality=100)).float().mean((1, 2))
    assert red_pixels[0] > 240
    assert red_pixels[1:].max() < 15


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(mode: str) -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert(mode)
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128)).convert(mode)
    assert decode_image(saved(clear, "png")).unique().tolist() == [255]
    assert abs(int(decode_image(saved(half, "png")).max()) - 127) <= 1


def test_transparent_palette_lies_over_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert decode_image(saved(image, "png", transparency=0)).unique().tolist() == [255]
    assert decode_image(saved(image, "png"))[:, 0, 0].tolist() == [10, 20, 30]


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    wide = Image.fromarray(np.array([[0, 257, 32768, 65535]], dtype=np.uint16))
    assert decode_image(saved(wide, "png"), channels=1)[0, 0].tolist() == [0, 1, 128, 255]


def test_floating_point_is_refused() -> None:
    with pytest.raises(BadSample, match="floating-point"):
        decode_image(saved(Image.new("F", (2, 2)), "tiff"))


def test_grey_on_request() -> None:
    assert decode_image(JPEG, channels=1).shape == (1, 16, 16)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    image = Image.new("RGB", (6, 4))
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert decode_image(saved(image, "jpeg", exif=exif)).shape == ((3, 4, 6) if orientation < 5 else (3, 6, 4))


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), (value, value, value)) for value in (10, 200)]
    assert int(decode_image(saved(frames[0], "gif", save_all=True, append_images=frames[1:])).max()) == 10


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\0" * 500, "not an image"),
        (b"not an image at all", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
        (JPEG[: len(JPEG) // 2], "cannot be decoded: .*[Tt]runcated"),
        (JPEG[:30], "cannot be decoded|not an image"),
    ],
    ids=["empty", "zeros", "text", "postscript", "half", "header only"],
)
def test_what_is_no_image_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(BadSample, match=reason):
        decode_image(data)


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(["jpeg", "png", "webp", "gif", "tiff", "bmp"]), data=st.data())
def test_damage_is_refused_or_gives_an_image_of_the_size(kind: str, data: st.DataObject) -> None:
    whole = bytearray(saved(COLOUR, kind))
    cut = data.draw(st.integers(0, len(whole)))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=3)):
        whole[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        image = decode_image(bytes(whole[:cut]))
    except BadSample:
        return
    assert image.dtype == torch.uint8
    assert image.shape[0] == 3


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(1, len(JPEG) - 3))
def test_a_truncated_jpeg_never_passes(cut: int) -> None:
    # All but the two bytes of the end marker are needed.
    with pytest.raises(BadSample):
        decode_image(JPEG[:cut])


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [9_500, 30_000, 200_000])
def test_a_bomb_is_refused_before_it_is_unpacked(side: int) -> None:
    with pytest.raises(BadSample, match="pixels"):
        decode_image(png_header(side, side))


def test_the_limit_of_pixels_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_IMAGE_PIXELS", 255)
    with pytest.raises(BadSample, match="16 x 16 = 256 pixels, above the limit of 255"):
        decode_image(JPEG)
