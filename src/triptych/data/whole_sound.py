"""Sound files that end before their own headers say: libsndfile reads what is left of them without a word."""

import os
import struct
from io import BufferedReader, BytesIO

from triptych.data.source import BadSample

_UNKNOWN = 0x7FFF_0000
"""From here on a length stands for none: who writes to a pipe does not know it."""

_SLACK = 256
"""Bytes that may be missing: some writers count their headers as samples."""

MOST_CHUNKS = 1 << 14
"""Before the samples. A file of nothing but empty ones takes minutes to walk through."""

_LARGEST_PAGE = 65_307  # bytes of an Ogg page

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
    for _ in range(MOST_CHUNKS):
        if place + 8 > total:
            return 0
        file.seek(place)
        name, size = struct.unpack(f"{order}4sI", file.read(8))
        if name == samples:
            return place + 8 + size - total if size < _UNKNOWN else 0
        place += 8 + size + size % 2
    raise BadSample(f"damaged, or a trap: no samples come in its first {MOST_CHUNKS} chunks")


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
