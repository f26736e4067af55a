"""Labels that lie on a circle, as days of a week may: the plane of their means in which they go around.

Source: Engels et al. 2024, "Not all language model features are linear". Axis words: `example d`, `label`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from interp.errors import ProbeError
from interp.given import kinds_checked
from interp.parts.sites import SiteLike
from interp.probes.labelled_texts import halves
from interp.probes.reads import read_labelled
from interp.probes.subspace import Subspace
from interp.whole_numbers import count


@kinds_checked
def circle(
    model: Any,
    labels: Any,
    site: SiteLike,
    period: int,
    *,
    pool: int | str = "last",
    seed: int = 0,
    batch_size: int | None = None,
) -> Subspace:
    """The plane that the means m_c of labels c = 0 to period - 1 go around: the span of sum_c m_c cos(2 pi c / period) and of the sine, fitted on half of the texts.

    checks: r2, of (cos, sin) of the label by coordinates on the texts held out (least squares on the others); radius, of the means; in_order, the share of steps
    from one mean to the next around the circle that are to the next label. Cost: one forward of all texts. Raises: ProbeError for a period below 3, a label
    that is missing or has fewer than 2 different texts, several sites, a plane that is none.
    """
    if count(period, "period", ProbeError) < 3:
        raise ProbeError(f"period={period}: expected 3 labels or more; two labels lie on a line.")
    sites = model.resolve(site)
    if len(sites) != 1:
        raise ProbeError(f"site {str(site)!r} is {len(sites)} sites; expected one, for example 'resid_post.2'.")
    reads = read_labelled(model, labels, sites, pool, n_labels=period, least=2, batch_size=batch_size)
    x, y = reads.values[sites[0]].astype(np.float64), reads.labels
    train, test = halves(reads.examples, seed)
    basis, centre, centres = plane(x[train], y[train], period)
    angle = 2 * np.pi * y / period
    inside, wanted = (x - centre) @ basis, np.stack([np.cos(angle), np.sin(angle)], 1)
    r2 = _explained(inside, wanted, train, test)
    checks = {"r2": r2, "radius": float(np.linalg.norm(centres, axis=1).mean()), "in_order": _in_order(centres)}
    axes, middle = torch.tensor(np.ascontiguousarray(basis)), torch.tensor(centre)
    points = tuple(tuple(map(float, one)) for one in centres.tolist())
    return Subspace(str(sites[0]), "circle", axes, axes, middle, points, tuple(checks.items()))


def plane(x: np.ndarray, y: np.ndarray, period: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orthonormal basis [d 2], centre [d] and coordinates of the means of the labels [label 2]. Raises: ProbeError where the means span no plane."""
    means = np.stack([x[y == label].mean(0) for label in range(period)])
    centre = means.mean(0)
    angle = 2 * np.pi * np.arange(period) / period
    waves = (means - centre).T @ np.stack([np.cos(angle), np.sin(angle)], 1) * 2 / period
    sizes = np.linalg.svd(waves, compute_uv=False)
    if not sizes[1] > 1e-9 * max(float(np.abs(means).max()), 1e-30):
        raise ProbeError("the means of the labels span no plane; expected labels that go around a circle.")
    basis, r = np.linalg.qr(waves)
    basis = basis * np.sign(np.diag(r))
    return basis, centre, (means - centre) @ basis


def _explained(inside: np.ndarray, wanted: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """R^2 on held-out rows of least squares with a constant."""
    given = np.concatenate([inside, np.ones((len(inside), 1))], 1)
    fitted = np.linalg.lstsq(given[train], wanted[train], rcond=None)[0]
    rest = wanted[test] - given[test] @ fitted
    return float(1 - (rest**2).sum() / ((wanted[test] - wanted[train].mean(0)) ** 2).sum())


def _in_order(centres: np.ndarray) -> float:
    around = np.argsort(np.arctan2(centres[:, 1], centres[:, 0]), kind="stable")
    return float(((np.roll(around, -1) - around) % len(around) == 1).mean())
