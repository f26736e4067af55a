"""How well an approximation agrees with exact patching, per kind of node, with bootstrap intervals over prompt pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Final

import numpy as np

from interp.errors import InterpError, ScoreError
from interp.formatting.plain import rebuilt
from interp.formatting.table import Table, rows_of
from interp.formatting.text import printed, visible
from interp.given import kinds_checked
from interp.parts.nodes import competes
from interp.scores.resampling import pearson, resample_weights, spearman
from interp.scores.scores import Scores

MIN_NODES: Final = 8
#: How far a correlation moves without the largest node, for that node to be named.
CARRIED: Final = 0.1
SAME: Final = (
    "level", "positions", "direction", "ablation", "metric", "model", "task", "n_pairs", "pairs", "dictionaries",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """Agreement over one set of nodes.

    `pearson`, `spearman`: of the mean scores, None where one side does not vary or there are fewer than 3 nodes;
    `sign`: fraction of nodes with the same sign, None for unsigned scores, which are compared with the sizes of the exact
    ones; `top_k`: overlap of the `k` nodes largest in size. `*_ci`: 95 %
    bootstrap intervals over prompt pairs, the same resample for both methods; None below `MIN_NODES` nodes, where a
    correlation is no headline and only the points should be shown, and for a single pair. `slope`: how many times the exact
    scores the scores are, sum(score * exact) / sum(exact^2), the line through 0 of least squares; None where no exact score
    differs from 0, or the units differ. Of a search (`Agreement.order`) only `spearman`, `top_weighted` and `top_k` are there, of the largest
    importance in the place of size. `largest`: the node of the largest exact score in size, and `pearson_without` the
    correlation of all others: where they are far apart, that node carries the number (`carried`). `top_weighted`: agreement of
    the order by size, in which the top weighs most: a weighted Kendall tau, rank r counting 1 / (r + 1) (Vigna 2015). `error`:
    mean |score - exact| / mean |exact|; None where the units differ.
    """

    kind: str
    n: int
    pearson: float | None
    pearson_ci: tuple[float, float] | None
    spearman: float | None
    spearman_ci: tuple[float, float] | None
    sign: float | None
    top_k: float
    k: int
    slope: float | None = None
    largest: str = ""
    pearson_without: float | None = None
    top_weighted: float | None = None
    error: float | None = None

    @property
    def carried(self) -> bool:
        """Whether one node makes the correlation what it is: without it, it is another by more than `CARRIED`."""
        if self.pearson is None or self.pearson_without is None or self.n < MIN_NODES:
            return False
        return abs(self.pearson - self.pearson_without) > CARRIED

    @property
    def headline(self) -> bool:
        """Whether there are enough nodes to quote the correlation alone."""
        return self.n >= MIN_NODES


@dataclass(frozen=True, repr=False)
class Agreement(Table):
    """Rows for each kind, and for all nodes (`all`) but the embedding and the errors of dictionaries: few and large, they would
    be all that a correlation sees. `order`: the unit of scores that are an order of parts and estimate no effects, those of searches on
    masks; empty for all others. plot(): correlations with their intervals, a kind below the other."""

    fault: ClassVar[type[InterpError]] = ScoreError

    method: str
    rows: tuple[Row, ...]
    n_pairs: int
    sampled: str = ""
    order: str = ""

    def __getitem__(self, kind: str) -> Row:
        for row in self.rows:
            if row.kind == kind:
                return row
        raise ScoreError(f"no agreement for kind {kind!r}; there is {', '.join(row.kind for row in self.rows)}.")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Agreement:
        """The inverse of `dataclasses.asdict`."""
        return rebuilt(cls, data)  # type: ignore[no-any-return]

    def to_pandas(self) -> Any:
        """One line per kind."""
        return rows_of({f.name: [getattr(row, f.name) for row in self.rows] for f in fields(Row)})

    def __str__(self) -> str:
        head = f"{self.method} against exact patching, {self.n_pairs} pairs {self.sampled}"
        named = replace(self, rows=tuple(replace(row, kind=visible(row.kind, 80)) for row in self.rows))
        return printed(f"{head}\n{named.to_pandas().to_string(index=False)}")


@kinds_checked
def agreement(scores: Scores, exact: Scores, *, seed: int = 0, sampled: str = "") -> Agreement:
    """Compare scores with exact ones made under the same conventions; `exact` may hold a sample of the nodes.

    `sampled` says how that sample was drawn, for the report. Scores with a unit of their own say how much a part matters: they are compared
    with exact effects of the sign that matters. Searches on masks give an order of parts, which is all that is compared of them.

    Raises: ScoreError where `exact` is not exact, the conventions differ, or a node of `exact` is missing in `scores`.
    """
    _check(scores, exact)
    column = {node.name: i for i, node in enumerate(scores.parts)}
    ours = scores.per_example[:, [column[node.name] for node in exact.parts]]
    kinds = np.array([node.kind for node in exact.parts])
    weights = resample_weights(len(ours), seed)
    shown = np.array(["->" in kind or competes(kind) for kind in kinds])
    sets = [("all", shown), *((kind, kinds == kind) for kind in dict.fromkeys(kinds))]
    unsigned, sloped = scores.provenance.unsigned, scores.provenance.unit == exact.provenance.unit
    names = np.array([node.name for node in exact.parts])
    turned = 1 if sloped else scores.provenance.importance_sign * exact.provenance.importance_sign
    ordered = bool(scores.provenance.masks)
    if ordered:  # what is in every circuit has no place in the order
        sets = [(kind, keep & shown) for kind, keep in sets]
    rows = tuple(
        _ordered(str(kind), names[keep], ours[:, keep], turned * exact.per_example[:, keep], weights)
        if ordered
        else _row(str(kind), names[keep], ours[:, keep], turned * exact.per_example[:, keep], weights, unsigned, sloped)
        for kind, keep in sets
        if keep.any()
    )
    order = scores.provenance.unit if ordered else ""
    return Agreement(scores.provenance.method, rows, len(ours), sampled, order)


def _check(scores: Scores, exact: Scores) -> None:
    a, b = scores.provenance, exact.provenance
    if not b.exact:
        raise ScoreError(f"agreement is measured against exact patching; the second scores come from {b.method!r}.")
    if different := [
        f"{name} ({str(getattr(a, name))[:40]}, {str(getattr(b, name))[:40]})"
        for name in SAME
        if getattr(a, name) != getattr(b, name)
    ]:
        raise ScoreError(f"scores made under different conventions cannot be compared: {', '.join(different)}.")
    if missing := {n.name for n in exact.parts} - {n.name for n in scores.parts}:
        raise ScoreError(f"nodes scored exactly but not by {a.method}: {', '.join(sorted(missing)[:5])}.")


def _row(
    kind: str,
    names: np.ndarray,
    ours: np.ndarray,
    exact: np.ndarray,
    weights: np.ndarray,
    unsigned: bool,
    sloped: bool,
) -> Row:
    """One row from per-example scores [example node] of both methods and bootstrap weights [resample example]."""
    a, n = ours.mean(0), ours.shape[1]
    b = np.abs(exact.mean(0)) if unsigned else exact.mean(0)
    k = max(1, min(10, n // 4))
    several = n >= 3
    pearson_ci, spearman_ci = _intervals(ours, exact, weights, unsigned)
    largest = int(np.abs(b).argmax())
    rest = np.arange(n) != largest
    return Row(
        kind=kind,
        n=n,
        pearson=_number(pearson(a[None], b[None])) if several else None,
        pearson_ci=pearson_ci,
        spearman=_number(spearman(a[None], b[None])) if several else None,
        spearman_ci=spearman_ci,
        sign=None if unsigned else float((np.sign(a) == np.sign(b)).mean()),
        top_k=_overlap(np.abs(a), np.abs(b), k),
        k=k,
        slope=float(a @ b / (b @ b)) if sloped and (b @ b) > 0 else None,
        largest=str(names[largest]),
        pearson_without=_number(pearson(a[None, rest], b[None, rest])) if n >= 4 else None,
        top_weighted=_top_weighted(np.abs(a), np.abs(b)) if several else None,
        error=float(np.abs(a - b).mean() / np.abs(b).mean()) if sloped and (b != 0).any() else None,
    )


def _ordered(kind: str, names: np.ndarray, ours: np.ndarray, exact: np.ndarray, weights: np.ndarray) -> Row:
    """The same of scores that are an order, the most important first."""
    a, b, n = ours.mean(0), exact.mean(0), ours.shape[1]
    k = max(1, min(10, n // 4))
    return Row(
        kind=kind,
        n=n,
        pearson=None,
        pearson_ci=None,
        spearman=_number(spearman(a[None], b[None])) if n >= 3 else None,
        spearman_ci=_intervals(ours, exact, weights, False)[1],
        sign=None,
        top_k=_overlap(a, b, k),
        k=k,
        largest=str(names[int(b.argmax())]),
        top_weighted=_top_weighted(a, b) if n >= 3 else None,
    )


def _overlap(a: np.ndarray, b: np.ndarray, k: int) -> float:
    """How many of the k largest both have, as a share of k."""
    return len(set(np.argsort(-a, kind="stable")[:k]) & set(np.argsort(-b, kind="stable")[:k])) / k


Interval = tuple[float, float]


def _intervals(
    ours: np.ndarray, exact: np.ndarray, weights: np.ndarray, unsigned: bool
) -> tuple[Interval | None, Interval | None]:
    """Of the Pearson and of the rank correlation, over resamples of the examples; None for few nodes or one example."""
    if ours.shape[1] < MIN_NODES or len(ours) < 2:
        return None, None
    a, b = weights @ ours, weights @ exact
    b = np.abs(b) if unsigned else b
    return _interval(pearson(a, b)), _interval(spearman(a, b))


def _top_weighted(a: np.ndarray, b: np.ndarray) -> float | None:
    """Weighted Kendall tau of two sizes [node]; None where one does not vary."""
    from scipy.stats import weightedtau

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(weightedtau(a, b).statistic)


def _number(value: np.ndarray) -> float | None:
    return None if np.isnan(value[0]) else float(value[0])


def _interval(values: np.ndarray) -> tuple[float, float] | None:
    """Central 95 % of the resamples that have a value."""
    known = values[~np.isnan(values)]
    if len(known) < len(values) // 2:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def headlines(found: Agreement) -> Iterator[str]:
    """The rows with enough nodes, in words."""
    for row in found.rows:
        if row.headline and row.pearson is not None and row.kind != "all":
            ci = f" [{row.pearson_ci[0]:.2f}, {row.pearson_ci[1]:.2f}]" if row.pearson_ci else ""
            yield f"{row.kind} {row.pearson:.2f}{ci} (n = {row.n})"
