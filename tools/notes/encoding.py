"""Ogg Vorbis that is the same bytes on each run: libsndfile draws a stream's serial number, here it is always 1."""

import io
import struct

import soundfile

from .synthesizer import RATE, Samples

COMPRESSION = 0.9
"""Of libsndfile, 0 to 1: quality 0.1 of Vorbis. Log-mel energies (64 bands, down to 60 dB below a note's loudest)
move by 0.9 dB on average; Opus moves them nearly twice as far at as many bytes."""

SERIAL = 1
_SERIAL_AT, _CHECKSUM_AT, _SEGMENTS_AT, _HEADER = 14, 22, 26, 27
_POLYNOMIAL = 0x04C11DB7


def _checksums() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ _POLYNOMIAL if value & 0x80000000 else value << 1
        table.append(value & 0xFFFFFFFF)
    return table


_TABLE = _checksums()


def checksum(page: bytes) -> int:
    """CRC of an Ogg page whose own field is zero (RFC 3533, section 6)."""
    value = 0
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ _TABLE[value >> 24 ^ byte]
    return value


def with_serial(stream: bytes, serial: int = SERIAL) -> bytes:
    """An Ogg file of one stream with another serial number on each page.

    Raises:
        ValueError: these are no Ogg pages.
    """
    out, at = bytearray(), 0
    while at < len(stream):
        if stream[at : at + 4] != b"OggS":
            raise ValueError(f"no Ogg page at byte {at}")
        segments = stream[at + _SEGMENTS_AT]
        size = _HEADER + segments + sum(stream[at + _HEADER : at + _HEADER + segments])
        page = bytearray(stream[at : at + size])
        struct.pack_into("<I", page, _SERIAL_AT, serial)
        struct.pack_into("<I", page, _CHECKSUM_AT, 0)
        struct.pack_into("<I", page, _CHECKSUM_AT, checksum(bytes(page)))
        out += page
        at += size
    return bytes(out)


def encode(wave: Samples) -> bytes:
    """Mono sound of RATE as an Ogg Vorbis file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, RATE, format="OGG", subtype="VORBIS", compression_level=COMPRESSION)
    return with_serial(buffer.getvalue())
