"""A picture of an SVG file by a headless browser, where one is installed: nothing is loaded, nothing of the user's is touched."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import Final

from interp.errors import InterpError

NAMES: Final = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "msedge",
)
VARIABLE: Final = "INTERP_BROWSER"
TIMEOUT: Final = 60.0
SCALE: Final = 2
LARGEST: Final = 8000
#: A headless window is lower inside than it says; what is too much is cut off again.
_SPARE: Final = 200
_FLAGS: Final = (
    "--headless", "--disable-gpu", "--no-first-run", "--no-default-browser-check", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--default-background-color=FFFFFFFF",
)  # fmt: skip
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


class PictureError(InterpError):
    """A value that cannot be drawn, or a picture that cannot be written."""


def browser() -> str:
    """The browser named by INTERP_BROWSER, or the first on the path. Raises: PictureError where there is none."""
    if named := os.environ.get(VARIABLE):
        if found := shutil.which(named):
            return found
        raise PictureError(
            f"{VARIABLE}={named!r} is no program that can be run; expected the path of Chromium or Chrome."
        )
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise PictureError(
        f"a .png needs a browser, and none of {', '.join(NAMES)} is on the path: install Chromium or Chrome, name it in {VARIABLE}, "
        "or save .svg, which needs none."
    )


def as_png(svg: str, width: int, height: int) -> bytes:
    """The PNG of an SVG file of this size, at twice its size in pixels.

    Raises: PictureError where there is no browser, it fails, or the picture is too large for it.
    """
    if max(width, height) > LARGEST:
        raise PictureError(
            f"a picture of {width} x {height} pixels is too large for a .png (at most {LARGEST}); save .svg."
        )
    with tempfile.TemporaryDirectory(prefix="circuits-picture-", ignore_cleanup_errors=True) as folder:
        source, target = Path(folder) / "picture.svg", Path(folder) / "picture.png"
        source.write_text(svg, encoding="utf-8")
        _photograph([browser(), *_flags(Path(folder), width, height), f"--screenshot={target}", source.as_uri()])
        if not target.is_file():
            raise PictureError(f"the browser {browser()!r} wrote no picture; save .svg, which needs none.")
        return cut(target.read_bytes(), SCALE * width, SCALE * height)


def _flags(folder: Path, width: int, height: int) -> list[str]:
    # Chromium refuses to run its sandbox as root.
    rooted = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    size = [f"--window-size={width},{height + _SPARE}", f"--force-device-scale-factor={SCALE}"]
    return [*_FLAGS, *rooted, *size, f"--user-data-dir={folder / 'profile'}"]


def _photograph(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise PictureError(
            f"the browser {command[0]!r} took more than {TIMEOUT:g} s; save .svg, which needs none."
        ) from error
    except OSError as error:
        raise PictureError(f"the browser {command[0]!r} cannot be run: {error.strerror or error}.") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [""]
        raise PictureError(
            f"the browser {command[0]!r} failed with {done.returncode}: {said[0][:200]}. Save .svg, which needs none."
        )


def cut(png: bytes, width: int, height: int) -> bytes:
    """The first `height` rows of a PNG file. Rows are stored from the top, each told from those above it, so the rest can go.

    Raises: PictureError for another width, fewer rows, or a file that is no plain PNG.
    """
    chunks = _chunks(png)
    head = next((data for kind, data in chunks if kind == b"IHDR"), b"")
    if len(head) != 13 or head[8] != 8 or head[12] or head[9] not in (2, 6):
        raise PictureError("the browser wrote something else than a plain PNG of 8 bits; save .svg, which needs none.")
    wide, high = struct.unpack(">II", head[:8])
    if wide != width or high < height:
        raise PictureError(
            f"the browser drew {wide} x {high} pixels for {width} x {height}; save .svg, which needs none."
        )
    rows = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    kept = rows[: height * (1 + width * (3 if head[9] == 2 else 4))]
    parts = [(b"IHDR", struct.pack(">II", width, height) + head[8:]), (b"IDAT", zlib.compress(kept, 9)), (b"IEND", b"")]
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], len(_SIGNATURE)
    while at + 8 <= len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
