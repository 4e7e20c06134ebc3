"""Sound files that end before their own headers say: libsndfile reads what is left of them without a word."""

import os
import struct
from io import BufferedReader, BytesIO

from triptych.data.source import BadSample

_UNKNOWN = 0x7FFF_0000
"""From here on a length stands for none: who writes to a pipe does not know it."""

_SLACK = 256
"""Bytes that may be missing: some writers count their headers as samples."""

_LARGEST_PAGE = 65_307  # bytes of an Ogg page

OTHER_FORMATS = (
    (4, b"ftyp", "MPEG-4 (m4a, mp4)"),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM"),
    (0, b"0&\xb2u", "Windows Media"),
    (0, b"#!AMR", "AMR"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
)
"""Sounds that libsndfile does not read, by the place and the bytes that tell them."""


def other_format(file: BytesIO | BufferedReader) -> str | None:
    """Name of the file's format, where libsndfile does not read it; `file` is at its start afterwards."""
    start = file.read(32)
    file.seek(0)
    return next((name for place, magic, name in OTHER_FORMATS if start[place : place + len(magic)] == magic), None)


def check_whole(file: BytesIO | BufferedReader) -> None:
    """Compares what a WAV, AIFF, AU or Ogg file says of its length with what there is; `file` is at its start again
    afterwards. Other formats are told by their decoders.

    Raises:
        BadSample: it is empty, or cut short.
    """
    total = file.seek(0, os.SEEK_END)
    file.seek(0)
    if not total:
        raise BadSample("the file is empty (0 bytes)")
    start = file.read(32)
    missing = 0
    if start[:4] == b"RIFF" and start[8:12] == b"WAVE":
        missing = _missing_of_chunks(file, total, "<", b"data")
    elif start[:4] == b"FORM":
        missing = _missing_of_chunks(file, total, ">", b"SSND")
    elif start[:4] == b".snd" and len(start) >= 12:
        offset, size = struct.unpack(">II", start[4:12])
        missing = offset + size - total if size < _UNKNOWN else 0
    elif start[:4] == b"OggS":
        missing = _missing_of_page(file, total)
    file.seek(0)
    if missing > (0 if start[:4] == b"OggS" else _SLACK):
        raise BadSample(f"cut short: at least {missing} bytes are missing behind its {total}")


def _missing_of_chunks(file: BytesIO | BufferedReader, total: int, order: str, samples: bytes) -> int:
    """Bytes that the chunk of samples has beyond the end of the file (RIFF, IFF)."""
    place = 12
    while place + 8 <= total:
        file.seek(place)
        name, size = struct.unpack(f"{order}4sI", file.read(8))
        if name == samples:
            return place + 8 + size - total if size < _UNKNOWN else 0
        place += 8 + size + size % 2
    return 0


def _missing_of_page(file: BytesIO | BufferedReader, total: int) -> int:
    """Bytes that the last page has beyond the end of an Ogg file."""
    begin = max(0, total - 2 * _LARGEST_PAGE)
    file.seek(begin)
    tail = file.read()
    page = tail.rfind(b"OggS")
    header = tail[page : page + 27]
    if page < 0 or len(header) < 27:
        return 27 - len(header) if page >= 0 else 0
    sizes = tail[page + 27 : page + 27 + header[26]]
    return max(0, page + 27 + header[26] + sum(sizes) - len(tail))
