"""The places of a net's input as positions: how many there are, and what they are called."""

from __future__ import annotations

from itertools import product
from math import prod


def places_of(shape: tuple[int, ...], entry: str | None, ids: bool) -> tuple[int, ...]:
    """The axes of an input, of this shape without its batch, that are places: of [channel place ...] and of [place ... number] the places; of ids, and
    of numbers without an order, all."""
    if ids or len(shape) <= 1:
        return shape
    return shape[1:] if entry == "channels" else shape[:-1]


def n_positions(shape: tuple[int, ...], entry: str | None, ids: bool) -> int:
    """How many positions such an input has."""
    return prod(places_of(shape, entry, ids))


def names_of_places(shape: tuple[int, ...], entry: str | None, ids: bool) -> tuple[str, ...]:
    """`r0c0`, `r0c1`, ... of images, with `d0` in front of volumes; `t0`, ... of sequences; `x0`, ... of numbers without an order; of more axes
    `a0_0a1_0...`."""
    places = places_of(shape, entry, ids)
    if len(places) == 1:
        return tuple(f"{'t' if ids or len(shape) > 1 else 'x'}{i}" for i in range(places[0]))
    letters = ("d", "r", "c")[-len(places) :] if len(places) <= 3 else tuple(f"a{i}_" for i in range(len(places)))
    rows = product(*map(range, places))
    return tuple("".join(f"{letter}{i}" for letter, i in zip(letters, row, strict=True)) for row in rows)
