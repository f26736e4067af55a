"""Methods judged by known circuits: how well their scores tell the edges of a compiled program's circuit from the others.

A warning about the AUROC of approximations: softmax and ReLU are saturated in these programs, and what is not in the
circuit often scores exactly 0, so rounding errors alone can rank its edges first. `Row.seen` says how many of them scored
more than the change that the known circuit is defined by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from circuits.evaluation.known.programs import THRESHOLD, Truth, TruthError, check_ablation, load_truth, programs
from interp.parts.graph import Edge
from interp.whole_numbers import count


@dataclass(frozen=True)
class Row:
    """How one method found one program's circuit. `gap`: smallest score inside minus largest outside. `seen`: the share of the
    circuit's edges whose score is above `THRESHOLD`, the change of an output from which on an edge belongs to the circuit.
    """

    program: str
    method: str
    ablation: str
    metric: str
    n_edges: int
    n_circuit: int
    auroc: float
    precision: float
    recall: float
    gap: float
    seen: float


def metric_of(method: str) -> str:
    """What a method is judged by: exact ones by the largest change of any output, the rest by a slope they can take."""
    from interp.attribution.methods import get_method

    return "largest_change" if get_method(method).exact else "projection"


def judge(
    folder: str | Path,
    methods: Sequence[str],
    ablation: str = "counterfactual",
    seed: int = 0,
    *,
    limit: int | None = None,
    show_progress: bool | None = None,
) -> list[Row]:
    """A row per program and method: an edge's score is the mean over pairs of |score|, patched into the clean run.

    Exact methods score the largest change of any output at positions 1 and up; the others the projection of the outputs
    on source - base, which zero ablation does not have. Raises: TruthError, and what `interp.attribute_all` raises.
    """
    _check_methods(methods, ablation, limit)
    return [
        row
        for program in programs(folder)
        for row in _judge(load_truth(program, ablation, limit=limit), methods, seed, show_progress)
    ]


def _by_metric(methods: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for method in methods:
        found.setdefault(metric_of(method), []).append(method)
    return found


def _check_methods(methods: Sequence[str], ablation: str, limit: int | None) -> None:
    """Refuse what no program can be judged by, before one is loaded. Raises: TruthError, MethodError."""
    from interp.attribution.asking.checks import check
    from interp.attribution.asking.request_options import Request

    check_ablation(ablation)
    by_metric = _by_metric(methods)
    if ablation == "zero" and (blind := by_metric.get("projection")):
        raise TruthError(
            f"{', '.join(blind)}: judged by the projection on the source run, which zero ablation does not have. "
            "Give exact methods only, or ablation 'counterfactual'."
        )
    if limit is not None:
        count(limit, "limit", TruthError, expected="one pair or more")
    for metric, some in by_metric.items():
        check(Request(methods=some, level="edges", metric=metric, ablation=ablation, direction="noise"))


def _judge(truth: Truth, methods: Sequence[str], seed: int, show_progress: bool | None) -> list[Row]:
    from interp.attribution.request import attribute_all

    rows = {}
    for metric, some in _by_metric(methods).items():
        found = attribute_all(
            truth.model,
            truth.task,
            methods=some,
            level="edges",
            split_positions=truth.graph.split_positions,
            direction="noise",
            ablation=truth.ablation,
            metric=metric,
            seed=seed,
            show_progress=show_progress,
        )
        for method, scores in found.items():
            rows[method] = _row(truth, method, metric, scores.edges, np.abs(scores.per_example).mean(0))
    return [rows[method] for method in methods]


def _row(truth: Truth, method: str, metric: str, edges: Sequence[Edge], scores: np.ndarray) -> Row:
    curve = truth.judge(edges, scores)
    inside = np.array([edge in truth.positives for edge in edges])
    seen = float((scores[inside] > THRESHOLD).mean())
    sizes = len(truth.graph.edges), len(truth.positives)
    numbers = curve.auroc, curve.precision, curve.recall, curve.gap, seen
    return Row(truth.name, method, truth.ablation, metric, *sizes, *numbers)


def table(rows: Sequence[Row]) -> str:
    """The rows as text, one line each."""
    header = ("program", "method", "edges", "circuit", "AUROC", "precision", "recall", "seen", "gap")
    lines = [header, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    numbers = (f"{x:.3f}" for x in (row.auroc, row.precision, row.recall, row.seen))
    return (row.program, row.method, str(row.n_edges), str(row.n_circuit), *numbers, f"{row.gap:+.3g}")
