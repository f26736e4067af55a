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
        """Standard error of the mean over the examples [part]; nan for one example."""
        return standard_error(self.per_example)


def standard_error(per_example: np.ndarray) -> np.ndarray:
    """Standard error of the mean over the first axis, [example ...] to [...]; nan for one example."""
    n = len(per_example)
    return np.asarray(per_example.std(0, ddof=1) / np.sqrt(n) if n > 1 else np.full(per_example.shape[1:], np.nan))
