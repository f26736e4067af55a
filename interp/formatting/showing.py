"""How values are shown, without knowing any: `card` for notebooks, `figure` for plots, `page` for a browser: generic functions of one value.

A display room registers what it shows, class by class; a package names its display room once, and the room is loaded when the
first value is shown. So a value knows no picture, and a picture knows its value.
"""

from __future__ import annotations

from functools import singledispatch
from importlib import import_module
from typing import Any

_ROOMS: list[str] = []


def displayed_by(room: str) -> None:
    """Name the display room of a package: its import registers cards and figures."""
    _ROOMS.append(room)


@singledispatch
def card(value: Any, **options: Any) -> str:
    """HTML that shows a value in a notebook. Raises: TypeError for a class that no display room shows."""
    return str(_shown("card", card, value, options))


@singledispatch
def figure(value: Any, **options: Any) -> Any:
    """A plotly figure of a value. Raises: TypeError for a class that no display room draws."""
    return _shown("figure", figure, value, options)


@singledispatch
def page(value: Any, **options: Any) -> str:
    """A value as one self-contained HTML page that loads nothing. Raises: TypeError for a class that has no page."""
    return str(_shown("page", page, value, options))


def _shown(what: str, generic: Any, value: Any, options: dict[str, Any]) -> Any:
    """What is registered for a class, once the display rooms are loaded."""
    for room in _ROOMS:
        import_module(room)
    function = generic.dispatch(type(value))
    if function is generic.dispatch(object):
        raise TypeError(f"{type(value).__name__} has no {what}; register one with interp.formatting.showing.{what}.")
    return function(value, **options)
