"""Pictures of strangers: bombs, lies of their headers, names that are no files."""

import io
import os
import struct
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from triptych.data.decode import decode_image
from triptych.data.folder import FolderSource, files_in
from triptych.data.source import BadSample
from triptych.doctor.look import look
from triptych.evaluation.inputs import find_inputs

from .corpus import Scene, bounded, chunk, png, zeros


def saved(form: str, pictures: int = 1, **options: object) -> bytes:
    file = io.BytesIO()
    frames = [Image.new("RGB", (64, 48), (number % 256, 9, 99)) for number in range(pictures)]
    more = {"save_all": True, "append_images": frames[1:]} if pictures > 1 else {}
    frames[0].save(file, form, **more, **options)
    return file.getvalue()


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)


def tiff(width: int, height: int) -> bytes:
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
            (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 2**31)]  # fmt: skip
    return (
        b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags) + bytes(4)
    )


BOMBS = {
    "100,000 x 100,000 of little": png(100_000, 100_000, zlib.compress(bytes(1000))),
    "2^31 x 2^31": png(2**31 - 1, 2**31 - 1, b""),
    "1 x 2^31": png(1, 2**31 - 1, zlib.compress(bytes(1000))),
    "just too large, packed": png(9500, 9500, zeros(9500 * 28501)),
    "no pixels": png(0, 0, b""),
    "a text of 300 MB": png(4, 4, zlib.compress(bytes(52)), extra=chunk(b"zTXt", b"a\0\0" + zeros(300 << 20))),
    "a profile of 300 MB": png(4, 4, zlib.compress(bytes(52)), extra=chunk(b"iCCP", b"a\0\0" + zeros(300 << 20))),
    "a million texts": png(4, 4, zlib.compress(bytes(52)), extra=chunk(b"zTXt", b"a\0\0" + zeros(1 << 19)) * 300),
    "pixels of 300 MB for 16": png(4, 4, zeros(300 << 20)),
    "BMP": bmp(65_000, 65_000),
    "BMP upside down": bmp(2**31 - 1, -(2**31)),
    "TIFF": tiff(2**31, 2**31),
    "GIF": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\0;",
    "PPM": b"P6 99999999 99999999 255\n" + bytes(100),
    "WebP": b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<IIII", 10, 0, 2**32 - 1, 2**32 - 1),
}  # fmt: skip


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_told_or_small(kind: str) -> None:
    with bounded(192, 5):
        try:
            found = tuple(decode_image(BOMBS[kind]).shape)
        except BadSample as reason:
            found = len(str(reason).splitlines())
    assert found in (1, (3, 4, 4))


def test_of_many_frames_the_first_is_read() -> None:
    data = saved("GIF", pictures=300)
    with bounded(64, 2):
        assert decode_image(data).shape == (3, 48, 64)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.85])
def test_what_is_cut_is_told(form: str, share: float) -> None:
    data = saved(form)
    with pytest.raises(BadSample):
        decode_image(data[: int(len(data) * share)])


@pytest.mark.parametrize("form", ["EPS", "PDF", "ICO", "PCX", "TGA", "SGI", "DDS", "JPEG2000", "AVIF", "ICNS"])
def test_other_decoders_do_not_run(form: str) -> None:
    try:
        data = saved(form)
    except (KeyError, OSError, ValueError):
        pytest.skip(f"this Pillow writes no {form}")
    with pytest.raises(BadSample, match="not an image of a known format"):
        decode_image(data)


def test_a_program_in_a_drawing_is_not_run(scene: Scene) -> None:
    drawing = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch {scene.canary}) (r) file\n".encode()
    with pytest.raises(BadSample):
        decode_image(drawing)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_change_gives_pixels_or_a_message(form: str, data: st.DataObject) -> None:
    content = bytearray(saved(form))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, min(len(content), 200) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_image(bytes(content))
    except BadSample:
        return


@pytest.fixture
def pictures(scene: Scene) -> Path:
    """Two classes, and among them names that are no files."""
    for name in ("cat", "dog"):
        folder = scene.here / "pictures" / name
        folder.mkdir(parents=True)
        for number in range(3):
            (folder / f"{number}.png").write_bytes(saved("PNG"))
    os.mkfifo(scene.here / "pictures" / "cat" / "pipe.png")
    (scene.here / "pictures" / "cat" / "zero.png").symlink_to("/dev/zero")
    (scene.here / "pictures" / "dog" / "gone.png").symlink_to("nowhere")
    (scene.here / "pictures" / "dog" / "folder.png").mkdir()
    return scene.here / "pictures"


def test_pipes_and_devices_are_bad_samples(pictures: Path) -> None:
    source = FolderSource(str(pictures), validation_fraction=0.01)
    reasons = {}
    with bounded(64, 5):
        for index in range(len(source)):
            try:
                source.read(index)
            except BadSample as reason:
                reasons[Path(source.name(index)).name] = str(reason)
            assert look(source, index).fault in ("", "unopened")
        for given in find_inputs(str(pictures), bytes):
            try:
                given.read()
            except BadSample:
                continue
    assert reasons == {
        "pipe.png": "cannot be opened: it is no plain file",
        "zero.png": "cannot be opened: it is no plain file",
        "gone.png": "cannot be opened: No such file or directory",
    }


def test_links_in_a_circle_end(scene: Scene) -> None:
    folder = scene.here / "pictures" / "cat"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(saved("PNG"))
    for number in range(6):
        (folder / f"again{number}").symlink_to(".")
        (folder / f"above{number}").symlink_to("..")
    start = time.monotonic()
    found = files_in(scene.here / "pictures")
    assert time.monotonic() - start < 2
    assert [Path(name).name for name in found] == ["a.png"]
