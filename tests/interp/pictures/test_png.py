"""Files of pixels, read back by a decoder written here from the specification."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from interp.pictures.png import png


def _decoded(data: bytes) -> np.ndarray:
    """The pixels of a file of 8 bits a channel without filters: [row column channel]; every check sum is checked."""
    assert data[:8] == bytes([137, 80, 78, 71, 13, 10, 26, 10])
    at, found, pixels = 8, list[bytes](), b""
    while at < len(data):
        (n,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + n]
        assert zlib.crc32(kind + body) == int.from_bytes(data[at + 8 + n : at + 12 + n], "big")
        found.append(kind)
        if kind == b"IHDR":
            width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", body)
            assert depth == 8 and rest == [0, 0, 0]
        pixels += body if kind == b"IDAT" else b""
        at += 12 + n
    assert (found[0], found[-1]) == (b"IHDR", b"IEND")
    channels = {0: 1, 2: 3}[colour]
    rows = np.frombuffer(zlib.decompress(pixels), np.uint8).reshape(height, 1 + width * channels)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, channels)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_come_back(channels: int) -> None:
    pixels = np.random.default_rng(channels).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    assert np.array_equal(_decoded(png(pixels.tobytes(), 7, 5, channels)), pixels)


@pytest.mark.parametrize("size", [(7, 5, 2), (7, 4, 1), (0, 5, 1)])
def test_other_sizes_are_refused(size: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="bytes for"):
        png(bytes(35), *size)
