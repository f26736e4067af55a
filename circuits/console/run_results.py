"""What a run found, as tables and sentences on a terminal, and as plain data for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from circuits.anatomy.feature_study import FeatureStudy
from circuits.circuit.circuit import Circuit
from circuits.console.printing import called, lines, sentence, table
from circuits.evaluation.evaluation import Evaluation
from circuits.report.sections.agreements import RANKS, RANKS_MEAN, note
from circuits.runs.agreeing import ORDER
from circuits.runs.finding import finding
from circuits.runs.judged import other_words, random_words
from circuits.runs.record import Record
from circuits.terms.words import kind_name
from interp.formatting.numbers import decimals, interval, percent_interval, score
from interp.scores.agreement import Agreement, Row
from interp.scores.wording import neither

#: How much of a ranking is shown.
TOP: Final = 10


def record(found: Record, folder: str | Path) -> None:
    """The finding, the top of the ranking, agreement, and where the report is."""
    sentence(finding(found))
    ranking(found)
    if found.circuit is not None and found.circuit.level == "edges":
        edge_circuit(found.circuit, found.evaluation)
    elif found.evaluation is not None:
        elsewhere(found.evaluation)
    if found.features is not None and found.evaluation is not None:
        beside(found.evaluation, found.features)
    if found.agreements:
        agreements(found.agreements)
    lines(f"report: {Path(folder) / 'report.html'}\nopen it: {called('open', str(folder))}")


def elsewhere(found: Evaluation) -> None:
    """What the circuit carries under another ablation, where it was judged under one."""
    if found.other is not None:
        sentence(f"under {found.other.ablation} ablation: {other_words(found)}")


def ranking(found: Record) -> None:
    """The top of the first scores: each with its interval, and whether it is exact or an estimate."""
    scores = found.scores[0]
    inside = {n.name for n in found.circuit.parts} if found.circuit else set()
    order, mean, half = scores.rank()[:TOP], scores.mean, 1.96 * scores.stderr
    digits = decimals(mean[order])
    none = "one pair" if len(scores.per_example) == 1 else "of all pairs together"
    rows = [
        (
            scores.parts[i].name,
            score(mean[i], digits),
            interval((mean[i] - half[i], mean[i] + half[i]), digits) if half[i] == half[i] else none,
            "exact" if scores.exact is not None and scores.exact[i] else neither(scores.provenance) or "estimated",
            "always" if scores.parts[i].kind == "embed" else "yes" if scores.parts[i].name in inside else "",
        )
        for i in order
    ]
    p = scores.provenance
    names = {"edges": ("edges", "edge"), "features": ("features and errors", "feature")}
    whole, one = names.get(p.level, ("components", "node"))
    table(f"top {whole} by {p.method} ({p.unit})", (one, "score", "95 % interval", "score is", "in circuit"), rows)


def edge_circuit(circuit: Circuit, found: Evaluation | None) -> None:
    """The size of a circuit of edges, how many edges of each kind it has, and what was measured of it."""
    kinds = Counter(edge.kind for edge in circuit.edges)
    size = f"{len(circuit):,}" + (f" of {found.n_nodes:,}" if found else "")
    rows = [("edges", size), ("nodes that they join", f"{len(circuit.nodes):,}")]
    rows += [(kind_name(kind), f"{n:,}") for kind, n in kinds.most_common()]
    if found:
        undefined = f"undefined: {found.reason}" if found.reason else "undefined"
        for name, e in (("faithfulness", found.faithfulness), ("completeness", found.completeness)):
            rows.append((name, percent_interval(e.value, e.low, e.high) if e.value is not None else undefined))
        rows.append(("random circuits of that size", random_words(found)))
        if found.other is not None:
            rows.append((f"faithfulness under {found.other.ablation} ablation", other_words(found)))
    table("circuit", ("of the circuit", "value"), rows)


def beside(own: Evaluation, study: FeatureStudy) -> None:
    """Faithfulness over size: features with errors kept and removed, and other nodes of the same ranking method."""
    curves = {"errors kept": own.curve, "errors removed": study.without_errors.curve if study.without_errors else ()}
    words = {"heads": "heads, MLPs"}
    curves |= {f"{words.get(o.level, o.level)} (of {o.n_parts:,})": o.points for o in study.beside}
    at = {
        # Whole numbers: with more the columns break.
        name: {
            p.size: percent_interval(p.faithfulness.value, p.faithfulness.low, p.faithfulness.high, digits=0)
            for p in points
        }
        for name, points in curves.items()
    }
    rows = [
        (f"{p.size:,}" + (" *" if p.size == own.size else ""), *(known.get(p.size, "-") for known in at.values()))
        for p in own.curve
    ]
    table("faithfulness of features and of other nodes (* the circuit's size; - fewer nodes)", ("size", *at), rows)
    for other in study.beside:
        if other.reason:
            lines(f"{other.level}: {other.reason}")


#: The columns of agreement, and those that a search on masks has, whose scores are an order.
_AGREEMENT: Final = ("method", "kind", "n", "Pearson [95 %]", "rank", "top τ", "slope", "error", "top k", "note")
_ORDER: Final = ("method", "kind", "n", "rank", "top τ", "top k", "note")


def agreements(found: Sequence[Agreement]) -> None:
    """Agreement with exact patching, and what is to be doubted in it: of estimates, and apart from them of searches."""
    estimates, searches = [a for a in found if not a.order], [a for a in found if a.order]
    _agreement_tables("agreement{} with exact patching", _AGREEMENT, estimates)
    _agreement_tables("order{} beside exact patching (search on masks)", _ORDER, searches)
    for sampled in dict.fromkeys(a.sampled for a in found if a.sampled):
        sentence(f"exact patching of {sampled}")
    if any(RANKS in row["note"] for row in _agreement_rows(estimates)):
        sentence(f"{RANKS}: {RANKS_MEAN}")
    if searches:
        sentence(f"searches on masks: {ORDER}; judge them by their circuits")


def _agreement_tables(title: str, columns: Sequence[str], found: Sequence[Agreement]) -> None:
    """A row per method and kind; edges have so many kinds that each method has its own table."""
    rows = _agreement_rows(found)
    if any("->" in row["kind"] for row in rows):
        for method in dict.fromkeys(a.method for a in found):
            own = [[row[name] for name in columns[1:]] for row in rows if row["method"] == method]
            table(title.format(f" of {method}"), columns[1:], own)
    elif rows:
        table(title.format(""), columns, [[row[name] for name in columns] for row in rows])


def _agreement_rows(found: Iterable[Agreement]) -> list[dict[str, str]]:
    return [dict(zip(_AGREEMENT, map(str, _agreement_row(row, a)), strict=True)) for a in found for row in a.rows]


def _agreement_row(row: Row, found: Agreement) -> tuple[object, ...]:
    pearson = f"{row.pearson:.3f}" if row.pearson is not None else "-"
    rank, weighted, slope, error = (
        f"{v:.2f}" if v is not None else "-" for v in (row.spearman, row.top_weighted, row.slope, row.error)
    )
    bounds = f" [{row.pearson_ci[0]:.2f}, {row.pearson_ci[1]:.2f}]" if row.pearson_ci and row.headline else ""
    top = f"{row.top_k * row.k:.0f}/{row.k}"
    return (found.method, row.kind, row.n, pearson + bounds, rank, weighted, slope, error, top, note(row, found))


def _agreement_json(found: Agreement) -> dict[str, Any]:
    return {"exact": found.sampled, "n_pairs": found.n_pairs, **{row.kind: asdict(row) for row in found.rows}}


def record_json(found: Record, where: str) -> dict[str, Any]:
    """A run as plain data for `--json`."""
    return {
        "finding": finding(found),
        "directory": where,
        "accuracy": dict(found.accuracy),
        "agreement": {a.method: _agreement_json(a) for a in found.agreements if not a.order},
        "searches": {a.method: {"unit": a.order, **_agreement_json(a)} for a in found.agreements if a.order},
        "scores": {s.provenance.method: dict(s.top(25)) for s in found.scores},
        "conventions": {k: v for k, v in asdict(found.scores[0].provenance).items() if k != "pairs"},
        "circuit": [n.name for n in found.circuit.parts] if found.circuit else None,
        "cost": {name: found.manifest.get(name) for name in ("forwards_total", "forwards_by_phase", "circuits_run")},
        "evaluation": found.evaluation.to_dict() if found.evaluation else None,
        **({"features": found.features.to_dict()} if found.features else {}),
    }
