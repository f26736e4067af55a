"""Pixels as the bytes of a PNG file."""

from __future__ import annotations

import struct
import zlib
from typing import Final

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
#: Channels -> the colour type that a file names: grey, or red, green, blue.
_COLOURS: Final = {1: 0, 3: 2}


def png(pixels: bytes, width: int, height: int, channels: int) -> bytes:
    """A PNG file of pixels [row column channel], one byte each, 1 channel (grey) or 3; the same pixels give the same bytes.

    Source: the PNG specification (W3C), 8 bits a channel, no filter, no interlacing. Raises: ValueError for other sizes.
    """
    if channels not in _COLOURS or min(width, height) < 1 or len(pixels) != width * height * channels:
        raise ValueError(f"{len(pixels)} bytes for {height} x {width} pixels of {channels} channels")
    line = width * channels
    rows = b"".join(b"\0" + pixels[start : start + line] for start in range(0, len(pixels), line))
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    """A part of the file: its length, kind, bytes and check sum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
