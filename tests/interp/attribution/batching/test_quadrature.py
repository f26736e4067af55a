"""Points and weights along a path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

from interp.attribution.batching.quadrature import QUADRATURES, quadrature
from interp.errors import MethodError


@pytest.mark.parametrize("name", QUADRATURES)
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 21])
def test_quadrature_weights_sum_to_one_within_the_path(name: str, steps: int) -> None:
    points = quadrature(name, steps)
    assert len(points) == steps and sum(w for _, w in points) == pytest.approx(1, abs=1e-12)
    assert all(0 <= x <= 1 and w > 0 for x, w in points)
    assert sorted(points) == points


def test_quadratures_are_what_their_names_say() -> None:
    def value(name: str, steps: int, f: Any) -> float:
        return sum(w * f(x) for x, w in quadrature(name, steps))

    def cube(x: float) -> float:
        return x**3

    true = quad(np.exp, 0, 1)[0]
    assert value("gauss-legendre", 2, cube) == pytest.approx(0.25, abs=1e-14)
    assert value("gauss-legendre", 8, np.exp) == pytest.approx(true, abs=1e-14)
    assert value("left", 4, cube) == pytest.approx((0 + 1 + 8 + 27) / 256)
    assert value("right", 4, cube) == pytest.approx((1 + 8 + 27 + 64) / 256)
    assert value("midpoint", 2, cube) == pytest.approx((1 + 27) / 128)
    assert value("trapezoid", 3, cube) == pytest.approx((0 + 2 / 8 + 1) / 4)
    for name, order in (("left", 1), ("right", 1), ("midpoint", 2), ("trapezoid", 2)):
        coarse, fine = (abs(value(name, n, np.exp) - true) for n in (101, 1001))
        assert np.log10(coarse / fine) == pytest.approx(order, abs=0.02)
    with pytest.raises(MethodError, match="gauss-legendre"):
        quadrature("gauss", 3)
