"""What it is to be right to first order, as a check that every level makes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def first_order(effect: Callable[[float], float], score: float, size: float, what: str) -> bool:
    """Check |effect(eps) - eps score| = O(eps^2): the slope between eps = 1e-3 and 1e-4 of a metric of this size.

    False where there is no slope: the error is rounding at both.
    """
    errors = [abs(effect(eps) - eps * score) for eps in (1e-3, 1e-4)]
    rounding = 1e-10 * abs(size)
    if errors[0] <= rounding:
        assert errors[1] <= rounding, (what, errors)
        return False
    assert np.log10(errors[0] / errors[1]) >= 1.9, (what, errors)
    return True
