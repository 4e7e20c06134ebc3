"""Sounds that libsndfile does not read, told by their first bytes.

FFmpeg, which reads them, goes by what it takes a file for, and a few lines of text in it (SDP, DASH) would make it
listen to the network. So what is handed to it begins as nothing but its format does.
"""

from collections.abc import Callable
from io import BufferedReader, BytesIO

_START = 1 << 15  # bytes: three of the longest frames of AAC
_PICTURES = (b"jp2 ", b"jpx ")  # that begin as MPEG-4 does, of which FFmpeg is not sure
_WINDOWS_MEDIA = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")


def other_format(file: BytesIO | BufferedReader) -> str | None:
    """Name of the file's format, where libsndfile does not read it; `file` is at its start afterwards."""
    start = file.read(_START)
    file.seek(0)
    return next((name for name, is_one in _FORMATS.items() if is_one(start)), None)


def _is_mpeg4(start: bytes) -> bool:
    return start[4:8] == b"ftyp" and start[8:12] not in _PICTURES


def _is_matroska(start: bytes) -> bool:
    """Whether a head follows that is whole and names one of both."""
    if start[:4] != b"\x1aE\xdf\xa3" or len(start) < 5 or not start[4]:
        return False
    # The length is a number whose leading zeros tell how many bytes it has.
    width = 9 - start[4].bit_length()
    length = int.from_bytes(start[4 : 4 + width], "big") - (1 << 7 * width)
    head = start[4 + width : 4 + width + length]
    return len(head) == length and (b"matroska" in head or b"webm" in head)


def _is_aac(start: bytes) -> bool:
    """Whether three frames stand one behind the other."""
    place = 0
    for _ in range(3):
        head = start[place : place + 7]
        if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
            return False
        size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        if size < 7:
            return False
        place += size
    return place <= len(start)


_FORMATS: dict[str, Callable[[bytes], bool]] = {
    "MPEG-4 (m4a, mp4)": _is_mpeg4,
    "Matroska or WebM": _is_matroska,
    "Windows Media": lambda start: start.startswith(_WINDOWS_MEDIA),
    "AMR": lambda start: start.startswith(b"#!AMR"),
    "AAC": _is_aac,
}
