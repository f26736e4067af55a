"""Scores and circuits as networkx graphs, and back.

Nodes are components (`embed`, `a0.h1`, `m0`, `logits`; `a2.kv1` for K/V heads that query heads share). An edge's key is the
channel that reads it, `q`, `k`, `v`, or `in` for MLPs and logits, with `@p` at a position; so the three edges between two
heads stay apart. Attributes: `name` as in `interp.parts.graph`, `place` among the parts; of scores the mean `score` and its `importance`;
of a circuit `in_circuit` and `rank`. Parts that are nodes carry the same attributes and no edges.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from circuits.circuit.circuit import Circuit
from circuits.interchange.contents import Contents, as_data, circuit_of, provenance_of
from circuits.interchange.strict import InterchangeError, flag, members, number, parse_json
from interp.errors import MethodError
from interp.parts.graph import Edge, Part, parse_edge
from interp.parts.nodes import Node
from interp.scores.scores import Scores

if TYPE_CHECKING:
    import networkx as nx

FORMAT: Final = "relevance-circuits"
VERSION: Final = 1
_PART_KEYS: Final = ("name", "place")
_HEADER: Final = ("format", "version", "details")


def ends(edge: Edge) -> tuple[str, str, str]:
    """The nodes and the key of an edge: sender, component that reads, channel."""
    component, _, channel = edge.receiver.name.partition("<")
    at = "" if edge.position is None else f"@{edge.position}"
    return edge.sender.name, component, (channel.rstrip(">") or "in") + at


def attributes(contents: Contents) -> list[dict[str, Any]]:
    """Plain attributes of every part, in order."""
    found: list[dict[str, Any]] = [{"name": part.name, "place": i} for i, part in enumerate(contents.parts)]
    if contents.scores is not None:
        values = zip(found, contents.scores.mean.tolist(), contents.scores.importance.tolist(), strict=True)
        for entry, score, importance in values:
            entry |= {"score": score, "importance": importance}
    if contents.circuit is not None:
        rank = {part: i for i, part in enumerate(contents.circuit.parts)}
        for entry, part in zip(found, contents.parts, strict=True):
            entry["in_circuit"] = part in rank
            if part in rank:
                entry["rank"] = rank[part]
    return found


def to_networkx(value: Scores | Circuit | Contents) -> nx.MultiDiGraph[str]:
    """The graph of scores, of a circuit, or of both. Raises: InterchangeError for a position that cannot be read back."""
    import networkx as nx

    contents = Contents.of(value)
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph(format=FORMAT, version=VERSION, details=json.dumps(as_data(contents)))
    for part, entry in zip(contents.parts, attributes(contents), strict=True):
        if isinstance(part, Edge):
            _add_edge(graph, part, entry)
        else:
            graph.add_node(part.name, **{k: v for k, v in part.to_dict().items() if v is not None}, **entry)
    return graph


def _add_edge(graph: nx.MultiDiGraph[str], edge: Edge, entry: dict[str, Any]) -> None:
    if parse_edge(edge.name) != edge:
        raise InterchangeError(f"edge {edge.name!r} would be read back as another one: rename its position.")
    sender, receiver, key = ends(edge)
    graph.add_node(sender, **_component(edge.sender))
    graph.add_node(receiver, **_component(edge.receiver))
    graph.add_edge(sender, receiver, key, channel=key.partition("@")[0], **entry)


def _component(end: Node) -> dict[str, Any]:
    """The attributes of the component that an end of an edge belongs to."""
    kind = "head" if end.kind in ("q", "k", "v") else end.kind
    place = {"layer": end.layer, "unit": end.unit}
    return {"kind": kind, "grouped": end.grouped, **{k: v for k, v in place.items() if v is not None}}


# ---------------------------------------------------------------- back


def from_networkx(graph: nx.MultiDiGraph[str]) -> Contents:
    """What `to_networkx` made a graph of; scores with their mean as the only example.

    Raises: InterchangeError for another format, version or attribute, or names that contradict the graph.
    """
    details = _details(graph.graph)
    found = _edge_parts(graph) if graph.number_of_edges() else _node_parts(graph)
    provenance, circuit = details["scores"], details["circuit"]
    optional = (("score", "importance") if provenance is not None else ()) + (
        ("in_circuit", "rank") if circuit is not None else ()
    )
    parts = _in_order(found, optional)
    scores = None
    if provenance is not None:
        means = [number(f"{part.name}: score", entry.get("score")) for part, entry in parts]
        scores = Scores(tuple(p for p, _ in parts), np.array([means]), provenance_of("the graph", provenance))
        _check_importance(scores, [entry for _, entry in parts])
    held = None if circuit is None else circuit_of("the graph", circuit)
    _check_circuit(held, parts)
    return Contents(scores, held)


def _details(header: Mapping[str, Any]) -> dict[str, Any]:
    given = {k: v for k, v in header.items() if k not in ("node_default", "edge_default") or v}
    if given.get("format") != FORMAT or given.get("version") != VERSION:
        raise InterchangeError(
            f"the graph has format {given.get('format')!r}, version {given.get('version')!r}; expected {FORMAT!r}, version {VERSION}, as circuits writes it."
        )
    data = members("the graph", given, _HEADER)["details"]
    return members("the details of the graph", parse_json(str(data), "details"), ("scores", "circuit"))


def _edge_parts(graph: nx.MultiDiGraph[str]) -> Iterable[tuple[Part, dict[str, Any]]]:
    known: dict[str, dict[str, Any]] = {}
    for sender, receiver, entry in graph.edges(data=True):
        try:
            edge = parse_edge(str(entry.get("name")))
        except MethodError as error:
            raise InterchangeError(f"the graph: {error}") from error
        if ends(edge)[:2] != (sender, receiver) or entry.get("channel") != ends(edge)[2].partition("@")[0]:
            raise InterchangeError(
                f"the edge {edge.name} lies between {sender!r} and {receiver!r}; expected its own ends."
            )
        known |= {sender: _component(edge.sender), receiver: _component(edge.receiver)}
        yield edge, {k: v for k, v in entry.items() if k != "channel"}
    for name, given in graph.nodes(data=True):
        if given != known.get(name):
            raise InterchangeError(
                f"node {name!r} has the attributes {given}; expected {known.get(name)}, of its edges."
            )


def _node_parts(graph: nx.MultiDiGraph[str]) -> Iterable[tuple[Part, dict[str, Any]]]:
    for name, entry in graph.nodes(data=True):
        kind, grouped = entry.get("kind"), entry.get("grouped")
        own = {k: v for k, v in entry.items() if k not in ("kind", "grouped", "layer", "unit", "position")}
        node = Node(
            str(kind), entry.get("layer"), entry.get("unit"), flag(f"{name}: grouped", grouped), entry.get("position")
        )
        if node.name != name:
            raise InterchangeError(f"node {name!r} has the attributes of {node.name!r}; expected its own.")
        yield node, own


def _in_order(
    found: Iterable[tuple[Part, dict[str, Any]]], optional: Iterable[str]
) -> list[tuple[Part, dict[str, Any]]]:
    checked = [(part, members(part.name, entry, _PART_KEYS, tuple(optional))) for part, entry in found]
    checked.sort(key=lambda item: number(f"{item[0].name}: place", item[1]["place"]))
    if [entry["place"] for _, entry in checked] != list(range(len(checked))):
        raise InterchangeError(
            f"the places of the {len(checked)} parts are not 0, 1, 2 and so on; a part is missing or twice."
        )
    for part, entry in checked:
        if entry["name"] != part.name:
            raise InterchangeError(f"{part.name} is named {entry['name']!r}; expected its own name.")
    return checked


def _check_importance(scores: Scores, entries: list[dict[str, Any]]) -> None:
    """A score that was edited without its importance, or the other way round, is no score."""
    for part, entry, right in zip(scores.parts, entries, scores.importance.tolist(), strict=True):
        if entry.get("importance") != right:
            raise InterchangeError(
                f"{part.name}: importance {entry.get('importance')!r} does not follow from its score."
            )


def _check_circuit(circuit: Circuit | None, parts: list[tuple[Part, dict[str, Any]]]) -> None:
    """`in_circuit` and `rank` of the parts are those of the circuit in the details."""
    rank = {part: i for i, part in enumerate(circuit.parts)} if circuit is not None else {}
    for part, entry in parts:
        if circuit is not None and (
            entry.get("in_circuit") is not (part in rank) or entry.get("rank") != rank.get(part)
        ):
            raise InterchangeError(
                f"{part.name}: in_circuit and rank are not those of the circuit that the graph names."
            )
    if missing := set(rank) - {part for part, _ in parts}:
        raise InterchangeError(f"{min(p.name for p in missing)} of the circuit is not in the graph.")
