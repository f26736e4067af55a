"""`PerExample`: one number for each example and part, with the mean over the examples and its standard error."""

from __future__ import annotations

import numpy as np


class PerExample:
    """What values have that hold `per_example` [example part], whatever the parts are."""

    per_example: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean over the examples [part]."""
        return np.asarray(self.per_example.mean(0))

    @property
    def stderr(self) -> np.ndarray:
        """Standard error of the mean over the examples [part]; nan for one example, and for scores that are of all examples together: every
        row of them is the same."""
        found, first = standard_error(self.per_example), self.per_example[:1]
        together = first.any() and bool((self.per_example == first).all())
        return np.full_like(found, np.nan) if together else found


def standard_error(per_example: np.ndarray) -> np.ndarray:
    """Standard error of the mean over the first axis, [example ...] to [...]; nan for one example."""
    n = len(per_example)
    return np.asarray(per_example.std(0, ddof=1) / np.sqrt(n) if n > 1 else np.full(per_example.shape[1:], np.nan))
