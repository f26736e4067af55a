"""A record to plain data of JSON types: the only place that reads the values. What was not measured is None or empty."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, cast

from circuits.report.sections.agreements import agreement, samples, scatters
from circuits.report.sections.anatomy_section import anatomy
from circuits.report.sections.area_curves import curve_and_areas
from circuits.report.sections.context import conventions, direction_line, manifest_tree, prompt_pair, rules_said
from circuits.report.sections.edges_section import edge_maps, graph
from circuits.report.sections.features_section import features
from circuits.report.sections.maps import score_maps, share_limit
from circuits.report.sections.pictures_section import pictures, stream_pictures
from circuits.report.sections.search_section import how_known, search, search_of
from circuits.report.view.view import view
from circuits.runs.finding import finding
from circuits.runs.model_files import weights_line
from circuits.runs.naming import counted, of_edges, words
from circuits.terms.words import kind_name, metric_name
from interp.formatting.numbers import count, decimals, number, percent

if TYPE_CHECKING:
    from circuits.runs.record import Record
    from interp.parts.nodes import Node
    from interp.scores.provenance import Provenance
    from interp.scores.scores import Scores

MOST_RANKED: Final = 50
MOST_PROMPTS: Final = 12


def payload(record: Record) -> dict[str, Any]:
    """Everything that the page shows, section by section."""
    return {
        "finding": finding(record),
        "title": _title(record),
        "facts": _facts(record),
        "words": words(record),
        "of_edges": of_edges(record),
        "graph": graph(record),
        "view": view(record),
        "alone": False,
        "features": features(record),
        "anatomy": anatomy(record),
        "agreement": [agreement(a) for a in record.agreements if not a.order],
        "orders": [agreement(a) for a in record.agreements if a.order],
        "search": search(record),
        "samples": samples(record.agreements),
        "scatters": scatters(record),
        "maps": _maps(record),
        "unmapped": _unmapped(record),
        "position_maps": _position_maps(record),
        "ranking": _ranking(record),
        **curve_and_areas(record),
        "circuit": None if record.circuit is None else [n.name for n in record.circuit],
        "pictures": pictures(record, MOST_PROMPTS),
        "prompts": [prompt_pair(p, i) for i, p in enumerate(record.prompts[:MOST_PROMPTS])],
        "prompts_left": max(0, len(record.prompts) - MOST_PROMPTS),
        "conventions": [conventions(s) for s in _all_scores(record)],
        "rules": rules_said(record.manifest),
        "direction_line": direction_line(_first(record)),
        "manifest": manifest_tree(record.manifest),
    }


def _first(record: Record) -> Provenance | None:
    return record.scores[0].provenance if record.scores else None


def _all_scores(record: Record) -> list[Scores]:
    """The scores of the run, and the exact ones where they are not among them."""
    found = list(record.scores)
    if record.exact is not None and all(s.provenance.method != record.exact.provenance.method for s in found):
        found.append(record.exact)
    return found


def _title(record: Record) -> str:
    source = _first(record) or record.circuit
    return "Circuit report" if source is None else f"{source.task} on {source.model}"


def _facts(record: Record) -> list[dict[str, str]]:
    first, circuit = _first(record), record.circuit
    facts: dict[str, str] = {}
    if source := first or circuit:
        facts |= {"model": source.model, "task": source.task}
    if line := weights_line(record.manifest):
        facts["weights"] = line
    if first:
        methods = ", ".join(s.provenance.method for s in record.scores)
        facts |= {"methods" if len(record.scores) > 1 else "method": methods, "direction": first.direction}
        facts |= {
            "level": first.level,
            "positions": first.positions,
            "metric": f"{metric_name(first.metric)} ({first.unit})",
        }
        facts["pairs scored"] = count(first.n_pairs)
    if record.evaluation:
        facts["pairs evaluated"] = count(record.evaluation.n_pairs) + (
            ", held out" if record.evaluation.held_out else ", the same"
        )
    if circuit:
        size = f"{count(len(circuit))} {counted(record)}"
        if circuit.level == "edges":
            size += f", between {count(len(circuit.nodes))} nodes"
        facts |= {"circuit": size, "selection": circuit.selection}
    for name in dict.fromkeys(("clean", "corrupt", *record.accuracy)):
        facts[f"accuracy on {name} prompts"] = (
            percent(record.accuracy[name]) if name in record.accuracy else "not measured in this run"
        )
    return [{"name": name, "value": value} for name, value in (facts | _sides(first)).items()]


def _sides(first: Provenance | None) -> dict[str, str]:
    """The mean metric of clean and corrupt prompts, where scores go from the one to the other: how far apart the model holds them."""
    if first is None or first.source_metric is None or first.ablation != "counterfactual":
        return {}
    ends = (first.base_metric, first.source_metric)
    clean, corrupt = ends if first.direction == "noise" else ends[::-1]
    return {f"{metric_name(first.metric)}, clean and corrupt": f"{number(clean)}, {number(corrupt)} {first.unit}"}


# ------------------------------------------------------------ maps and ranking


def _chosen(record: Record) -> frozenset[str]:
    return frozenset(node.name for node in record.circuit or ())


def _maps(record: Record) -> list[dict[str, Any]]:
    chosen, mapped = _chosen(record), [s for s in _mapped(record) if not _is_sample(s, record)]
    found: list[dict[str, Any]] = []
    for i, s in enumerate(mapped):
        edges = s.provenance.level == "edges"
        maps = edge_maps(s, chosen, fine=i == 0) if edges else score_maps(s, chosen, record.labels)
        found.append({"method": s.provenance.method, "n": len(s.parts), "maps": maps})
    # The scale is that of the exact scores, or of the method that comes first.
    leading = next((g["maps"] for g, s in zip(found, mapped, strict=True) if s.provenance.exact), None)
    leading = leading or (found[0]["maps"] if found else [])
    # Maps of edges by kind add up fewer edges per cell than those by layer, so they keep their own.
    first = slice(1) if of_edges(record) else slice(None)
    limit = max((m["limit"] for m in leading[first] if m["form"] == "grid"), default=0.0)
    for group in found:
        share_limit(group["maps"][first], limit)
    return found


def _mapped(record: Record) -> list[Scores]:
    """The scores that have maps: of a run of `auto` its own, which hold all that it tried."""
    return list(record.scores[:1]) if search_of(record) else _all_scores(record)


def _is_sample(scores: Scores, record: Record) -> bool:
    """Whether these are exact scores of some edges only, whose sums would not be those of all."""
    own = scores.provenance
    return own.level == "edges" and own.exact and any(len(s.parts) > len(scores.parts) for s in record.scores)


def _unmapped(record: Record) -> list[dict[str, Any]]:
    """The methods without a map."""
    left = [s for s in _mapped(record) if _is_sample(s, record)]
    return [{"method": s.provenance.method, "n": len(s.parts)} for s in left]


def _position_maps(record: Record) -> list[dict[str, Any]]:
    if record.position_map is None:
        return []
    maps = score_maps(record.position_map, frozenset(), record.labels)
    share_limit(maps, max((m["limit"] for m in maps), default=0.0))
    method, pictured = record.position_map.provenance.method, stream_pictures(record)
    # Maps come stack by stack, and of each kind by kind.
    stacks = dict.fromkeys(n.stack for n in _nodes(record.position_map))
    kinds = dict.fromkeys((s, n.kind) for s in stacks for n in _nodes(record.position_map) if n.stack == s)
    return [{**m, "method": method, "pictured": pictured.get(kind, [])} for m, kind in zip(maps, kinds, strict=True)]


def _nodes(scores: Scores) -> tuple[Node, ...]:
    """The parts of a map of the stream, which are nodes."""
    return cast("tuple[Node, ...]", scores.parts)


def _ranking(record: Record) -> dict[str, Any] | None:
    if not record.scores:
        return None
    first = record.scores[0]
    # Exact scores have their own column.
    others = [s for s in record.scores[1:] if record.exact is None or not s.provenance.exact]
    columns = {_column(s, first): _means(s) for s in others}
    exact = _means(record.exact) if record.exact is not None else {}
    chosen, rows = _chosen(record), _ranked(first)
    for row in rows:
        row["in_circuit"] = _membership(row["name"], row["kind"], chosen, record)
        row["exact"] = exact.get(row["name"])
        row["others"] = [column.get(row["name"]) for column in columns.values()]
    return {
        "method": first.provenance.method,
        "unit": first.provenance.unit,
        "others": list(columns),
        # The embedding, often far larger, would take digits from all others.
        "digits": decimals([r["score"] for r in rows if r["name"] != "embed"] or [r["score"] for r in rows]),
        "rows": rows,
        "left": len(first.parts) - len(rows),
        "has_exact": record.exact is not None,
        "exact_apart": any(row["exact"] is not None and row["exact"] != row["score"] for row in rows),
        "has_known": any(row["known"] is not None for row in rows),
    }


def _column(scores: Scores, first: Scores) -> str:
    """The method, with its unit where that is another than that of the first."""
    method, unit = scores.provenance.method, scores.provenance.unit
    return method if unit == first.provenance.unit else f"{method} ({unit})"


def _means(scores: Scores) -> dict[str, float]:
    return {node.name: float(m) for node, m in zip(scores.parts, scores.mean, strict=True)}


def _ranked(scores: Scores) -> list[dict[str, Any]]:
    """The first rows of the ranking."""
    means, errors, importances = scores.mean, scores.stderr, scores.importance
    rows = []
    for place, i in enumerate(scores.rank()[:MOST_RANKED], 1):
        node, mean, error = scores.parts[i], float(means[i]), float(errors[i])
        row = {
            "place": place,
            "name": node.name,
            "kind": kind_name(node.kind, one=True),
            "layer": node.layer,
            "score": mean,
        }
        known = math.isfinite(error)
        row["stderr"] = error if known else None
        row["interval"] = [mean - 1.96 * error, mean + 1.96 * error] if known else None
        rows.append({**row, "importance": float(importances[i]), "known": how_known(scores, i)})
    return rows


def _membership(name: str, kind: str, chosen: frozenset[str], record: Record) -> str:
    if record.circuit is None:
        return "no circuit"
    return "always" if kind == kind_name("embed", one=True) else "yes" if name in chosen else "no"
