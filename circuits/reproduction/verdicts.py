"""What holds of a paper's claim on a model, and what does not, in sentences that follow from the table alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from circuits.reproduction.paper import Paper
from circuits.reproduction.reproduced import COLUMNS, ModelTable
from interp.formatting.numbers import number, percent, several
from interp.scores.agreement import Row

Interval = tuple[float, float] | None
#: What two methods are held beside each other by: in words, the number, and its interval where it has one.
_MEASURES: Final[tuple[tuple[str, Callable[[Row], float | None], Callable[[Row], Interval]], ...]] = (
    ("By Pearson", lambda r: r.pearson, lambda r: r.pearson_ci),
    ("Without the largest node of each", lambda r: r.pearson_without, lambda r: None),
    ("By rank (Spearman)", lambda r: r.spearman, lambda r: r.spearman_ci),
)


def facts(table: ModelTable, paper: Paper) -> list[str]:
    """What was measured on what, and which figures the paper has for it."""
    nodes = sum(table.cell(kind, table.methods[0]).row.n for kind in table.kinds)
    right = " and ".join(f"{percent(share)} of the {which} prompts" for which, share in table.right.items())
    spent = ", ".join(f"{m} {number(f, 0)} + {number(b, 0)}" for m, (f, b) in table.passes.items())
    weights = [f"Weights: {file}, SHA-256 {sha}." for file, sha in table.weights.items()]
    beside = f"what the paper has of {table.printed}, for which this model is taken by its name and its shape"
    return [
        f"{several(table.n_pairs, 'pair')} of {table.tokens} tokens ({table.task}), {paper.direction}, {paper.metric}, "
        f"{table.dtype}; the model is right on {right}.",
        *weights,
        f"Passes over all pairs for {several(nodes, 'node')}, {len(paper.levels)} levels together, forwards + backwards: {spent}. The "
        "runs of both prompts, which all methods share, are counted once, with exact.",
        f"Printed: {beside if table.printed else 'nothing, no figure of the paper for this model is known here'}.",
    ]


def verdicts(table: ModelTable, paper: Paper) -> list[str]:
    """How the paper's own method stands to the one it argues against, by each measure; nothing where one of them was not run."""
    if not set(paper.methods) <= set(table.methods):
        return []
    said = [_verdict(table, paper, *measure) for measure in _MEASURES]
    carried = [c for c in table.cells if c.row.carried and c.method in paper.methods]
    if carried:
        where = dict.fromkeys(f"{COLUMNS.get(c.kind, c.kind)} of {c.method} ({c.row.largest})" for c in carried)
        said.append(f"One node makes the correlation what it is: {', '.join(where)}.")
    return said


def _verdict(
    table: ModelTable,
    paper: Paper,
    words: str,
    value: Callable[[Row], float | None],
    bounds: Callable[[Row], Interval],
) -> str:
    """One sentence: where the paper's method is above the other, level at three digits, and below."""
    old, new = paper.methods
    where: dict[str, list[str]] = {"above": [], "level with": [], "below": []}
    for kind in table.kinds:
        a, b = (table.cell(kind, method).row for method in (old, new))
        one, other = value(a), value(b)
        if one is not None and other is not None:
            gain = round(other - one, 3)
            how = "above" if gain > 0 else "below" if gain < 0 else "level with"
            within = " (intervals overlap)" if gain and _overlap(bounds(a), bounds(b)) else ""
            where[how].append(COLUMNS.get(kind, kind) + within)
    said = "; ".join(f"{how} {old} on {', '.join(kinds)}" for how, kinds in where.items() if kinds)
    return f"{words} {new} is {said}." if said else f"{words} nothing can be said."


def _overlap(a: Interval, b: Interval) -> bool:
    return a is not None and b is not None and a[0] <= b[1] and b[0] <= a[1]
