"""Rules for averaging over the straight path from base (0) to source (1): points and weights that sum to 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from interp.errors import MethodError, unknown
from interp.rules.secants import gauss_legendre
from interp.whole_numbers import count

Points = list[tuple[float, float]]

#: Of methods that integrate, unless they are told.
DEFAULT_STEPS: Final = 8
DEFAULT_QUADRATURE: Final = "midpoint"


def _midpoint(steps: int) -> Points:
    return [((i + 0.5) / steps, 1 / steps) for i in range(steps)]


def _left(steps: int) -> Points:
    return [(i / steps, 1 / steps) for i in range(steps)]


def _right(steps: int) -> Points:
    return [((i + 1) / steps, 1 / steps) for i in range(steps)]


def _trapezoid(steps: int) -> Points:
    """`steps` points, both ends included; one step is the left end alone."""
    if steps == 1:
        return [(0.0, 1.0)]
    return [(i / (steps - 1), (0.5 if i in (0, steps - 1) else 1.0) / (steps - 1)) for i in range(steps)]


QUADRATURES: Final[dict[str, Callable[[int], Points]]] = {
    "midpoint": _midpoint,
    "gauss-legendre": gauss_legendre,
    "trapezoid": _trapezoid,
    "left": _left,
    "right": _right,
}


def quadrature(name: str, steps: int) -> Points:
    """(point, weight) for each step. Raises: MethodError for an unknown name or fewer than one step."""
    if name not in QUADRATURES:
        raise MethodError(unknown("quadrature", name, QUADRATURES))
    return QUADRATURES[name](count(steps, "steps", MethodError))
