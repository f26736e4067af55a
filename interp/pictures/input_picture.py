"""An input that is no text as it is looked at: pixels of an image or a spectrogram, or the wave of a sound."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["image", "spectrogram", "wave"]
#: Pixels along the longer side of an image; columns and rows of a spectrogram; columns of a wave.
LONGEST: Final[dict[Kind, tuple[int, int]]] = {"image": (160, 160), "spectrogram": (480, 128), "wave": (480, 2)}
#: x, y, width and height of a place, as shares of the picture from its upper left corner.
Box = tuple[float, ...]
#: Where an end in which nothing changes begins, as shares of the width and of the time.
Narrowed = tuple[float, float]


@dataclass(frozen=True)
class Picture:
    """How one input looks. It is plain data, so that it can stand in files; whatever a file holds, what is shown of it are pixels.

    name: what the input is called. width, height: pixels; `channels` is 1 (grey) or 3. pixels: one byte for each, row by row from the
    top, in base64; of a wave two rows of one channel, the lowest and the highest sample of each column, silence at 127.5.
    places: for each position of the stream where it stands, as (x, y, width, height) in shares of the picture; () for one that stands nowhere, such as `CLS`.
    stack: the prefix of that stream, of a model with several. narrowed: of a sound, from where it does not change any more and is drawn narrower.
    Raises: ValueError where sizes, bytes and places do not fit.
    """

    name: str
    kind: Kind
    width: int
    height: int
    channels: int
    pixels: str
    places: tuple[Box, ...] = ()
    stack: str = ""
    narrowed: Narrowed | None = None

    def __post_init__(self) -> None:
        widest, highest = LONGEST[self.kind]
        if not (1 <= self.width <= widest and 1 <= self.height <= highest and self.channels in (1, 3)):
            raise ValueError(f"a picture of {self.height} x {self.width} pixels of {self.channels} channels")
        if len(self.data) != self.width * self.height * self.channels:
            raise ValueError(f"{len(self.data)} bytes for a picture of {self.height} x {self.width} x {self.channels}")
        if self.kind == "wave" and (self.height, self.channels) != (2, 1):
            raise ValueError("a wave of other than two rows and one channel")
        if odd := [box for box in self.places if box and not _is_box(box)]:
            raise ValueError(f"a place {odd[0]}; expected x, y, width and height inside the picture")
        if self.narrowed is not None and not (
            len(self.narrowed) == 2 and all(0 < share < 1 for share in self.narrowed)
        ):
            raise ValueError(f"narrowed from {self.narrowed}; expected shares of the width and of the time")

    @property
    def data(self) -> bytes:
        """The pixels as bytes. Raises: ValueError for text that is no base64."""
        return base64.b64decode(self.pixels, validate=True)

    @property
    def placed(self) -> bool:
        """Whether any position stands in it."""
        return any(self.places)


def _is_box(box: Box) -> bool:
    if len(box) != 4 or not all(map(math.isfinite, box)):
        return False
    x, y, width, height = box
    edge = 1 + 1e-3
    return min(x, y) >= 0 and min(width, height) > 0 and x + width <= edge and y + height <= edge
