"""Inputs that are no text on a page: their pixels once, and drawings of them, plain or with numbers over their positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from markupsafe import Markup

from interp.pictures.heat import IMAGE, defined, heat
from interp.pictures.input_picture import Picture

#: Before the names of pictures on a page.
_PREFIX: Final = "input-"
Pictures = Mapping[str, Mapping[str, Any]]


def _picture(pictures: Pictures, of: str) -> Picture:
    return Picture(**pictures[of])


def pixels(pictures: Pictures) -> Markup:
    """The pixels of all pictures of a page."""
    return Markup("").join(defined(_picture(pictures, of), _PREFIX + of) for of in pictures)


def seen(of: str, pictures: Pictures, spoken: str, long: float = IMAGE) -> Markup:
    """A picture as it is. spoken: what a screen reader says."""
    return heat(_picture(pictures, of), of=_PREFIX + of, spoken=spoken, long=long)


def heat_over(data: Mapping[str, Any], pictures: Pictures, spoken: str, long: float = IMAGE) -> Markup:
    """`values` for each position over the picture `of`, strongest at `limit`; `said` where the pointer rests."""
    return heat(
        _picture(pictures, data["of"]),
        data["values"],
        limit=data["limit"],
        said=data["said"],
        signed=data["signed"],
        long=long,
        of=_PREFIX + data["of"],
        spoken=spoken,
    )
