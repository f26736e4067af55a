"""The kinds of linear probes, each a formula: a direction and a threshold from two labelled clouds.

Axis words: `example d`. y is 0 or 1; each label weighs the same whatever its number of examples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from interp.errors import ProbeError
from interp.probes.classifier import Classifier
from interp.registries import About, Registry

Fit = Callable[[np.ndarray, np.ndarray], Classifier]


@dataclass(frozen=True)
class ProbeKind:
    """A kind of probe with a name: its formula, what it costs, and the function of (x [example d], y [example])."""

    name: str
    sentence: str
    cost: str
    source: str
    function: Fit

    @property
    def about(self) -> About:
        return About(self.sentence, cost=self.cost, source=self.source)


def balanced(y: np.ndarray) -> np.ndarray:
    """A weight for each example [example], such that both labels weigh the same and the mean is 1."""
    n = np.array([(y == 0).sum(), (y == 1).sum()])
    if (n == 0).any():
        raise ProbeError(f"{n[0]} examples with label 0 and {n[1]} with label 1; a probe needs both.")
    return np.asarray(len(y) / (2 * n[y.astype(int)]))


def weighted_logistic(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, absolute: float = 0.0, square: float = 1.0
) -> tuple[np.ndarray, float, float]:
    """Minimum of sum_i weight_i log(1 + exp(-s_i score_i)) + absolute |w|_1 + square |w|^2 / 2 with a free bias: w [d], bias, the minimum.

    Raises: ProbeError where the optimiser does not converge.
    """
    from scipy.optimize import minimize

    d, s = x.shape[1], 2.0 * y - 1

    def loss(v: np.ndarray) -> tuple[float, np.ndarray]:
        w = v[:d] - v[d:-1] if absolute else v[:d]
        margin = s * (x @ w + v[-1])
        slope = -s * weight / (1 + np.exp(np.clip(margin, -500, 500)))
        gradient = x.T @ slope + square * w
        value = float(weight @ np.logaddexp(0, -margin) + square * w @ w / 2 + absolute * v[:-1].sum() * bool(absolute))
        both = [gradient + absolute, absolute - gradient] if absolute else [gradient]
        return value, np.concatenate([*both, [slope.sum()]])

    bounds = [(0, None)] * (2 * d) + [(None, None)] if absolute else None
    settings = {"maxiter": 20_000, "maxfun": 60_000, "ftol": 1e-15, "gtol": 1e-8}
    found = minimize(
        loss, np.zeros((2 if absolute else 1) * d + 1), jac=True, method="L-BFGS-B", bounds=bounds, options=settings
    )
    if not np.isfinite(found.fun):
        raise ProbeError(f"the probe's logistic regression did not converge: {found.message}")
    w = found.x[:d] - found.x[d:-1] if absolute else found.x[:d]
    return w, float(found.x[-1]), float(found.fun)


def logistic(x: np.ndarray, y: np.ndarray) -> Classifier:
    """Logistic regression of standardised columns, penalty |w|^2 / 2, labels balanced."""
    mean, spread = _standard(x)
    w, bias, _ = weighted_logistic((x - mean) / spread, y, balanced(y))
    return Classifier(mean, spread, w, bias)


def mean_gap(x: np.ndarray, y: np.ndarray) -> Classifier:
    """score = (mean_1 - mean_0) . (x - (mean_0 + mean_1) / 2)."""
    zero, one = x[y == 0].mean(0), x[y == 1].mean(0)
    return Classifier((zero + one) / 2, np.ones(x.shape[1]), one - zero, 0.0)


def lda(x: np.ndarray, y: np.ndarray) -> Classifier:
    """As the difference of means, times the inverse of the covariance within labels: the best direction for two Gaussians of one covariance."""
    gap = mean_gap(x, y)
    within = x - np.where((y == 1)[:, None], x[y == 1].mean(0), x[y == 0].mean(0))
    covariance = within.T @ within / len(x)
    return Classifier(gap.mean, gap.spread, np.linalg.pinv(covariance, rcond=1e-10, hermitian=True) @ gap.weights, 0.0)


def ridge(x: np.ndarray, y: np.ndarray) -> Classifier:
    """Least squares onto -1 and 1, of standardised columns with penalty |w|^2, labels balanced."""
    mean, spread = _standard(x)
    z, weight, s = (x - mean) / spread, balanced(y), 2.0 * y - 1
    centre = weight @ z / weight.sum()
    z = z - centre
    w = np.linalg.solve((z * weight[:, None]).T @ z + np.eye(x.shape[1]), (z * weight[:, None]).T @ s)
    return Classifier(mean, spread, w, float(-centre @ w))


def _standard(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = x.std(0)
    return x.mean(0), np.where(spread > 0, spread, 1.0)


PROBES: Final = Registry(
    "kind of probe",
    "interp.probes",
    ProbeError,
    (
        ProbeKind(
            "logistic",
            "logistic regression, standardised, L2 penalty 1/2, labels balanced",
            "iterations of n d",
            "Alain & Bengio 2016",
            logistic,
        ),
        ProbeKind("mean_difference", "difference of the means of the labels", "n d", "Marks & Tegmark 2023", mean_gap),
        ProbeKind(
            "lda", "inverse covariance within labels times the difference of means", "n d^2 + d^3", "Fisher 1936", lda
        ),
        ProbeKind(
            "ridge",
            "least squares onto -1 and 1, standardised, L2 penalty",
            "n d^2 + d^3",
            "Hoerl & Kennard 1970",
            ridge,
        ),
    ),
)
