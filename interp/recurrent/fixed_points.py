"""Where the state of a recurrent cell stays under a constant input, and how it moves around there.

Axis words: `start point state`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interp.formatting.table import rows_of
from interp.model.layers.recurrent_cells import Cell, RecurrentError
from interp.whole_numbers import count, is_whole

Step = Callable[[Tensor], Tensor]
#: Points nearer than so many tolerances are one point.
_NEAR = 1e3


@dataclass(frozen=True, eq=False, repr=False)
class FixedPoints:
    """points [point state] (of an LSTM h and c one behind the other), in the order of how many of the starts came there (`found`); `speed`
    q = 1/2 |F(h) - h|^2 at each; `jacobians` dF/dh [point state state] and their `eigenvalues` [point state], the largest first; `lost`: how many
    starts came to rest nowhere within the tolerance."""

    points: np.ndarray
    speed: np.ndarray
    found: np.ndarray
    jacobians: np.ndarray
    eigenvalues: np.ndarray
    lost: int

    @property
    def stable(self) -> np.ndarray:
        """Whether small changes die out around each point: all eigenvalues are smaller than 1 [point]."""
        largest: np.ndarray = np.abs(self.eigenvalues).max(1) < 1
        return largest

    def to_pandas(self) -> Any:
        """The table: point, starts, speed, largest eigenvalue by size, how many are 1 or larger, stable."""
        size = np.abs(self.eigenvalues)
        columns = {
            "point": np.arange(len(self.points)),
            "starts": self.found,
            "speed": self.speed,
            "largest_eigenvalue": size.max(1) if len(size) else [],
            "unstable_directions": (size >= 1).sum(1),
            "stable": self.stable,
        }
        return rows_of(columns)

    def __repr__(self) -> str:
        head = f"FixedPoints({len(self.points)} points of {int(self.found.sum()) + self.lost} starts, {self.lost} lost)"
        return f"{head}\n{self.to_pandas().to_string(index=False)}" if len(self.points) else head


def fixed_points(
    cell: Any,
    x: Any = None,
    starts: int | Tensor = 64,
    tol: float = 1e-6,
    *,
    layer: int = 0,
    steps: int = 500,
    seed: int = 0,
) -> FixedPoints:
    """The states h with F(h) = h for one input: q = 1/2 |F(h) - h|^2 is minimised from each start with L-BFGS, in float64.

    cell: a cell of torch (`nn.LSTMCell`, `nn.GRUCell`, `nn.RNNCell`), a recurrent module, of which `layer` is taken, or a function F of states
    [batch state] (starts are then a tensor). x: the constant input [feature], 0 by default. starts: states to begin at [start state], or how many are
    drawn from N(0, 1) with `seed`. tol: a start that ends with |F(h) - h| above it, relative to 1 + |h|, is lost; points within 1,000 tol of each
    other are one. steps: iterations of each start at most. Points of small speed that are no fixed points are not returned: raise tol to see them.

    Units: those of the state. Source: Sussillo & Barak 2013. Cost: `steps` evaluations of F and its gradient for each start, and one Jacobian for each
    point. Raises: RecurrentError for a cell, an input or starts that do not fit, and numbers that are not finite.
    """
    F, size = _step(cell, x, layer)
    if not isinstance(tol, (int, float)) or isinstance(tol, bool) or not 0 < tol < 1:
        raise RecurrentError(f"tol={tol!r}: expected a number between 0 and 1, such as 1e-6.")
    begun = _starts(starts, size, seed)
    ends = [_descended(F, start, count(steps, "steps", RecurrentError)) for start in begun]
    kept = [end for end in ends if float((F(end[None])[0] - end).norm()) <= tol * (1 + float(end.norm()))]
    points, found = _apart(kept, _NEAR * tol)
    jacobians = [_jacobian(F, point) for point in points]
    eigenvalues = [
        np.array(sorted(np.linalg.eigvals(J.numpy()), key=lambda v: -abs(v)), dtype=complex) for J in jacobians
    ]
    n = begun.shape[1]
    return FixedPoints(
        points=np.array([p.numpy() for p in points]).reshape(-1, n),
        speed=np.array([0.5 * float((F(p[None])[0] - p).square().sum()) for p in points]),
        found=np.array(found, dtype=int),
        jacobians=np.array([J.numpy() for J in jacobians]).reshape(-1, n, n),
        eigenvalues=np.array(eigenvalues, dtype=complex).reshape(-1, n),
        lost=len(ends) - len(kept),
    )


def _step(cell: Any, x: Any, layer: int) -> tuple[Step, int | None]:
    """F of states [batch state], and how many numbers a state has; None where only starts tell."""
    if not isinstance(cell, torch.nn.Module) and callable(cell):
        if x is not None:
            raise RecurrentError("x belongs to cells of torch; a function of the state has its input already.")
        return cell, None
    own = Cell.of(cell, layer).to(torch.float64)
    given = torch.zeros(own.features) if x is None else torch.as_tensor(x)
    if given.shape != (own.features,) or not bool(torch.isfinite(given).all()):
        raise RecurrentError(
            f"x of shape {tuple(given.shape)}; expected [{own.features}] finite numbers, the input of every step."
        )
    row = given.detach().to(own.input)
    return lambda h: own.step(row.expand(len(h), -1), h), own.n_hidden + own.n_cell


def _starts(starts: int | Tensor, size: int | None, seed: int) -> Tensor:
    """States to begin at [start state], in float64."""
    if is_whole(starts):
        if size is None:
            raise RecurrentError(f"starts={starts}: of a function give the states to begin at, [start state].")
        n = count(starts, "starts", RecurrentError)
        return torch.randn(n, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = torch.as_tensor(starts).detach().to("cpu", torch.float64)
    if (
        found.ndim != 2
        or not len(found)
        or found.shape[1] != (size or found.shape[1])
        or not bool(torch.isfinite(found).all())
    ):
        raise RecurrentError(
            f"starts of shape {tuple(found.shape)}; expected [start, {size or 'state'}] finite numbers."
        )
    return found


def _descended(F: Step, start: Tensor, steps: int) -> Tensor:
    """Where L-BFGS ends from one start. Raises: RecurrentError where F gives no numbers there."""
    h = start.clone().requires_grad_()
    search = torch.optim.LBFGS(
        [h],
        max_iter=steps,
        max_eval=4 * steps,
        tolerance_grad=1e-14,
        tolerance_change=1e-18,
        line_search_fn="strong_wolfe",
    )

    def speed() -> Tensor:
        search.zero_grad()
        q: Tensor = 0.5 * (F(h[None])[0] - h).square().sum()
        if not bool(torch.isfinite(q)):
            raise RecurrentError(
                "the step of this cell gives numbers that are not finite; expected weights and starts that are."
            )
        q.backward()  # type: ignore[no-untyped-call]
        return q

    with torch.inference_mode(False), torch.enable_grad():
        search.step(speed)  # type: ignore[no-untyped-call]
    return h.detach()


def _jacobian(F: Step, point: Tensor) -> Tensor:
    """dF/dh [state state] at a point."""
    found: Tensor = torch.func.jacrev(lambda h: F(h[None])[0])(point)
    return found.detach()


def _apart(ends: list[Tensor], near: float) -> tuple[list[Tensor], list[int]]:
    """Ends that are one point counted as one, those that most starts came to first."""
    groups: list[list[Tensor]] = []
    for end in ends:
        own = next((g for g in groups if float((g[0] - end).norm()) <= near * (1 + float(end.norm()))), None)
        groups.append([end]) if own is None else own.append(end)
    groups.sort(key=len, reverse=True)
    return [torch.stack(g).mean(0) for g in groups], [len(g) for g in groups]
