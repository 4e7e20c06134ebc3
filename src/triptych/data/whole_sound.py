"""Sound files that end before their own headers say: libsndfile reads what is left of them without a word."""

import os
import struct
from dataclasses import dataclass
from io import BufferedReader, BytesIO

from triptych.data.source import BadSample

_UNKNOWN = 0x7FFF_0000
"""From here on a length stands for none: who writes to a pipe does not know it."""

_SLACK = 256
"""Bytes that may be missing: some writers count their headers as samples."""

MOST_CHUNKS = 1 << 14
"""Before the samples. A file of nothing but empty ones takes minutes to walk through."""

_LARGEST_PAGE = 65_307  # bytes of an Ogg page


@dataclass(frozen=True)
class _Chunks:
    """Where the first chunk of a file begins, how long the head of each is and how it tells the length, the name of the
    one with samples, what of the head is `within` that length, and to what all are filled up.
    """

    first: int
    head: int
    size: struct.Struct
    samples: bytes
    within: int = 0
    even: int = 2


_CHUNKS = {
    b"RIFF": _Chunks(12, 8, struct.Struct("<I"), b"data"),
    b"FORM": _Chunks(12, 8, struct.Struct(">I"), b"SSND"),
    b"caff": _Chunks(8, 12, struct.Struct(">q"), b"data", even=1),
    b"riff\x2e\x91\xcf\x11": _Chunks(40, 24, struct.Struct("<q"), b"data", within=24, even=8),
}
"""By how the files begin: WAV, AIFF, CAF, W64."""


def check_whole(file: BytesIO | BufferedReader) -> None:
    """Compares what a WAV, AIFF, AU, CAF, W64 or Ogg file says of its length with what there is; `file` is at its start
    again afterwards. Other formats are told by their decoders.

    Raises:
        BadSample: it is empty, or cut short.
    """
    total = file.seek(0, os.SEEK_END)
    file.seek(0)
    if not total:
        raise BadSample("the file is empty (0 bytes)")
    start = file.read(36)
    missing = 0
    known = next((kind for magic, kind in _CHUNKS.items() if start.startswith(magic)), None)
    if known is not None:
        missing = _missing_of_chunks(file, total, known)
    elif start[:4] == b"RF64" and start[12:16] == b"ds64":
        # The lengths that 32 bits cannot tell are those of its first chunk.
        missing = _missing_of_chunks(file, total, _CHUNKS[b"RIFF"], struct.unpack("<Q", start[28:36])[0])
    elif start[:4] == b".snd" and len(start) >= 12:
        offset, size = struct.unpack(">II", start[4:12])
        missing = offset + size - total if size < _UNKNOWN else 0
    elif start[:4] == b"OggS":
        missing = _missing_of_page(file, total)
    file.seek(0)
    if missing > (0 if start[:4] == b"OggS" else _SLACK):
        raise BadSample(f"cut short: at least {missing} bytes are missing behind its {total}")


def _missing_of_chunks(file: BytesIO | BufferedReader, total: int, kind: _Chunks, told: int | None = None) -> int:
    """Bytes that the chunk of samples has beyond the end of the file; `told` is its length where its own is none."""
    place = kind.first
    for _ in range(MOST_CHUNKS):
        file.seek(place)
        head = file.read(kind.head)
        if len(head) < kind.head:
            return 0
        size = kind.size.unpack(head[-kind.size.size :])[0] - kind.within
        if head.startswith(kind.samples):
            unknown = size < 0 or (kind.size.size == 4 and size >= _UNKNOWN)
            length = told if unknown else size
            return 0 if length is None else place + kind.head + length - total
        place += kind.head + max(0, size)
        place += -place % kind.even
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
