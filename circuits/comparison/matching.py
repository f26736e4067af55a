"""Two runs or circuits matched part by part: what they say of themselves, and which of it lets their numbers be compared."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from circuits.circuit.algebra import compare, grouped
from circuits.circuit.circuit import Circuit, CircuitError, listable
from circuits.comparison.sides import Fact, Placed, Quantity, Side, SideBySide, common
from circuits.evaluation.evaluation import Evaluation
from circuits.runs.directory import is_run
from circuits.runs.finding import finding
from circuits.runs.record import Record
from circuits.runs.record_files import load_record
from circuits.terms.kinds import kinds_checked
from circuits.terms.words import pairs_in_words
from interp.parts.graph import Part
from interp.scores.scores import Scores

#: Facts that must be the same for a part's name to mean the same part.
_MATCHING: Final = ("model", "weights", "level", "positions", "graph", "dictionaries")
#: What it means that a fact differs; facts that are not here are what one compares by, such as the method.
_MEANS: Final = {
    "model": "parts of different models are different parts, so none are matched",
    "weights": "the models share a name and not their weights, so no parts are matched",
    "level": "the parts are of different kinds, so none are matched",
    "positions": "one scores positions apart and the other does not, so no parts are matched",
    "graph": "the edges belong to different graphs, so none are matched",
    "dictionaries": "features of different dictionaries are different features, so none are matched",
    "task": "the scores answer different questions",
    "pairs scored": "part of every difference is that of the pairs",
    "direction": "patching clean into corrupt and corrupt into clean are different questions; where both have a sign, importances are compared",
    "ablation": "a part is replaced by something else, so the sizes of effects are not comparable",
    "metric": "the scores measure different things",
    "measure of faithfulness": "the curves are shares of different things",
    "pairs evaluated": "the curves are of different pairs",
}  # fmt: skip


@kinds_checked
def side_by_side(
    a: Record | Circuit | str | Path, b: Record | Circuit | str | Path, *, names: tuple[str, str] | None = None
) -> SideBySide:
    """Two runs or circuits side by side, each a value, a run directory or a circuit file. `names`: what to call them.

    Raises: CircuitError for a file that is no circuit, RunError for a folder that is no complete run.
    """
    called = names or tuple(str(x) if isinstance(x, str | Path) else word for x, word in ((a, "A"), (b, "B")))
    first, second = _side(a, called[0]), _side(b, called[1])
    ours, theirs = _facts(first), _facts(second)
    facts = tuple(Fact(n, ours[n], theirs[n]) for n in ours if (ours[n], theirs[n]) != (None, None))
    different = {fact.name: fact for fact in facts if fact.differs}
    unmatched = next((f"different {n}: {_MEANS[n]}" for n in _MATCHING if n in different), "")
    fit = not unmatched and first.circuit is not None and second.circuit is not None
    unmixed = _unmixed(first.scores, second.scores)
    quantity = _quantity(first.scores, second.scores)
    pairs = () if unmatched or unmixed else common(first.scores, second.scores, quantity)
    return SideBySide(
        first,
        second,
        facts,
        tuple(f"different {n} ({fact.a}; {fact.b}): {_MEANS[n]}." for n, fact in different.items() if n in _MEANS),
        () if unmatched else _rows(first, second),
        compare(first.circuit, second.circuit, _chosen_from(first, second))
        if fit and first.circuit and second.circuit
        else None,
        quantity,
        len(pairs),
        *_correlations(pairs),
        unmatched,
        unmixed,
    )


def _side(given: Record | Circuit | str | Path, name: str) -> Side:
    if isinstance(given, str | Path):
        path = Path(given)
        folder = is_run(path)
        if not path.exists():
            raise CircuitError(f"{str(path)!r} does not exist; expected a run directory or a circuit file.")
        given = load_record(path) if folder else Circuit.load(path)
    if isinstance(given, Circuit):
        return Side(name, finding(Record({}, (), circuit=given)), given)
    scores = given.scores[0] if given.scores else None
    links = given.feature_edges or given.node_edges
    return Side(name, finding(given), given.circuit, scores, given.evaluation, links, given.manifest)


# ---------------------------------------------------------------- conventions


def _facts(side: Side) -> dict[str, str | None]:
    """What a side says of itself, in words."""
    c, p, e = side.circuit, side.scores.provenance if side.scores else None, side.evaluation
    source: Any = p or c
    if source is None:
        raise CircuitError(f"{side.name!r} holds neither scores nor a circuit; expected a run of discover or compare.")
    pairs = p.pairs if p else c.scored_pairs if c else ()
    files = side.manifest.get("model", {}).get("files")
    return {
        "model": source.model,
        "weights": _digest(f"{k} {v}" for k, v in sorted(files.items())) if files else None,
        "task": source.task,
        "pairs scored": f"{len(pairs)}, hash {_digest(pairs)}" if pairs else None,
        "method": source.method,
        "rules": p and p.rules,
        **_of_parts(side, source),
        "direction": p and p.direction,
        "ablation": p and p.ablation,
        "metric": p and f"{p.metric} ({p.unit})",
        "selection": c and c.selection,
        "size": c and str(len(c)),
        "measure of faithfulness": e and _measure(e),
        "pairs evaluated": e and f"{pairs_in_words(e.n_pairs, e.held_out)}{'' if e.held_out else ', also scored'}",
        "dtype": p and p.dtype,
        "seed": p and str(p.seed),
    }


def _of_parts(side: Side, source: Any) -> dict[str, str | None]:
    """Which parts a side is of. `source`: the provenance of its scores, or its circuit."""
    parts = side.scores.parts if side.scores else side.circuit.parts if side.circuit else ()
    readers = f"K/V readers {source.kv}, " if grouped(parts) else ""
    graph = f"{readers}position embedding {'apart' if source.split_positions else 'with embed'}"
    known = source.dictionaries
    return {
        "level": source.level,
        "positions": source.positions,
        "graph": graph if source.level == "edges" else None,
        "dictionaries": f"{len(known)}, hash {_digest(known)}" if known else None,
    }


def _measure(found: Evaluation) -> str:
    errors = f", errors {found.errors}" if found.errors else ""
    return f"{found.metric}, {found.ablation} ablation{errors}"


def _digest(texts: Any) -> str:
    return hashlib.sha256("\n".join(texts).encode(errors="backslashreplace")).hexdigest()[:8]


# ---------------------------------------------------------------- parts


def _unmixed(a: Scores | None, b: Scores | None) -> str:
    """Why two scores cannot share an axis."""
    if a is None or b is None:
        return "a circuit alone has no scores"
    units = (a.provenance.unit, b.provenance.unit)
    return "" if units[0] == units[1] else f"their units differ ({units[0]}; {units[1]})"


def _quantity(a: Scores | None, b: Scores | None) -> Quantity:
    known = [s.provenance for s in (a, b) if s is not None]
    if any(p.unsigned for p in known):
        return "size"
    return "importance" if len({p.importance_sign for p in known}) > 1 else "score"


def _correlations(common: tuple[tuple[str, float, float], ...]) -> tuple[float | None, float | None]:
    """Pearson's and Spearman's correlation."""
    from scipy.stats import rankdata

    if len(common) < 3:
        return None, None
    both = np.array([pair[1:] for pair in common]).T
    if np.ptp(both, axis=1).min() == 0:
        return None, None
    return float(np.corrcoef(both)[0, 1]), float(np.corrcoef(rankdata(both, axis=1))[0, 1])


def _chosen_from(a: Side, b: Side) -> frozenset[Part] | None:
    """All parts that either circuit was chosen from, where both sides have their scores."""
    if a.scores is None or b.scores is None or a.circuit is None or b.circuit is None:
        return None
    return frozenset(p for p in (*a.scores.parts, *b.scores.parts, *a.circuit.parts, *b.circuit.parts) if listable(p))


def _rows(a: Side, b: Side) -> tuple[Placed, ...]:
    """Every part of either side, by the better of its two places."""
    (placed_a, in_a), (placed_b, in_b) = ((_places(s), _inside(s.circuit)) for s in (a, b))
    nowhere, rows = (None, None), []
    for name in dict.fromkeys((*placed_a, *placed_b, *in_a, *in_b)):
        (place_a, score_a), (place_b, score_b) = placed_a.get(name, nowhere), placed_b.get(name, nowhere)
        held = (None if s.circuit is None else name in inside for s, inside in ((a, in_a), (b, in_b)))
        rows.append(Placed(name, place_a, place_b, score_a, score_b, *held))
    order = {name: i for i, name in enumerate((*in_a, *in_b))}
    return tuple(sorted(rows, key=lambda r: (_best(r), r.place_a or len(rows) + 1, order.get(r.part, len(order)))))


def _best(row: Placed) -> int:
    known = [place for place in (row.place_a, row.place_b) if place is not None]
    return min(known, default=0)


def _places(side: Side) -> dict[str, tuple[int | None, float | None]]:
    """Place by size, from 1, and score of each part that competes."""
    if side.scores is None:
        return {}
    s = side.scores
    order = [i for i in s.rank().tolist() if listable(s.parts[i])]
    return {s.parts[i].name: (place, float(s.mean[i])) for place, i in enumerate(order, 1)}


def _inside(circuit: Circuit | None) -> dict[str, None]:
    return dict.fromkeys(part.name for part in circuit.parts) if circuit is not None else {}
