"""The graph files of EAP-IG and MIB: what they hold, as a value, and as JSON that is the same to the byte.

{"cfg": {n_layers, n_heads, parallel_attn_mlp, d_model},
 "nodes": {"input" | "a0.h0" | "m0" | "logits": {in_graph, score?, neurons?, neurons_scores?}},
 "edges": {"input->a0.h0<q>": {score?, in_graph}, ...}}

Files of its first version, and of projects built on that, say true or false of a node, and no d_model; `score` may be null
where there is none. They call the embedding `input`. K/V readers are one per query head. Scores are importances: large means important. They may
be NaN. Source: Hanna et al. 2024, arXiv 2403.17806; Mueller et al. 2025 (MIB).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from circuits.interchange.strict import InterchangeError, count, flag, members, number, read_json
from interp.parts.graph import CHANNELS, Edge, Graph
from interp.parts.layout import Layout
from interp.parts.nodes import Node

THEIR_INPUT: Final = "input"


@dataclass(frozen=True)
class Shape:
    """What their files say of a model. `parallel`: MLPs read beside attention, in every layer. `d_model`: None where a file does
    not say it.

    Raises: InterchangeError for sizes below 1.
    """

    n_layers: int
    n_heads: int
    parallel: bool
    d_model: int | None = None

    def __post_init__(self) -> None:
        for name in ("n_layers", "n_heads", "d_model"):
            if name != "d_model" or self.d_model is not None:
                count(f"cfg: {name}", getattr(self, name))
        flag("cfg: parallel_attn_mlp", self.parallel)

    @classmethod
    def of(cls, layout: Layout) -> Shape:
        """The shape of a model. Raises: InterchangeError where only some of its layers are parallel, or one lacks heads or an MLP."""
        if without := next((block.path for block in layout.blocks if not block.heads or block.mlp is None), None):
            raise InterchangeError(
                f"{without} has no heads, or no MLP; EAP-IG files have both in every layer. Use GraphML, dot or a saved circuit."
            )
        parallel = {block.parallel for block in layout.blocks}
        if len(parallel) > 1:
            raise InterchangeError(
                "this model has layers with parallel and with sequential attention and MLP; EAP-IG files know one or the other."
            )
        return cls(layout.n_layers, layout.n_heads, parallel.pop(), layout.d_model)

    @cached_property
    def graph(self) -> Graph:
        """The graph that the files speak of: K/V readers split per query head, positions inside the embedding."""
        return Graph(
            self.n_layers, self.n_heads, self.n_heads, (self.parallel,) * self.n_layers, "split", split_positions=False
        )

    @property
    def n_edges(self) -> int:
        """The number of edges, without making them."""
        before = [1 + layer * (self.n_heads + 1) for layer in range(self.n_layers + 1)]
        attention = 3 * self.n_heads * sum(before[:-1])
        mlp = sum(before[:-1]) + (0 if self.parallel else self.n_layers * self.n_heads)
        return attention + mlp + before[-1]

    @cached_property
    def order(self) -> tuple[Edge, ...]:
        """Every edge in the order of their files."""
        return tuple(self._in_order())

    def _in_order(self) -> Iterator[Edge]:
        writers = self.graph.writers
        for layer in range(self.n_layers):
            seen = writers[: 1 + layer * (self.n_heads + 1)]
            heads = [Node("head", layer, head) for head in range(self.n_heads)]
            mlp = Node("mlp", layer)
            for sender in seen:
                for head in range(self.n_heads):
                    yield from (Edge(sender, Node(channel, layer, head)) for channel in CHANNELS)
                if self.parallel:
                    yield Edge(sender, mlp)
            if not self.parallel:
                yield from (Edge(sender, mlp) for sender in (*seen, *heads))
        yield from (Edge(sender, Node("logits")) for sender in writers)

    def __str__(self) -> str:
        how = "parallel" if self.parallel else "sequential"
        width = "" if self.d_model is None else f", d_model {self.d_model}"
        return f"{self.n_layers} layers, {self.n_heads} heads, {how} attention and MLP{width}"


@dataclass(frozen=True, eq=False)
class NodeEntry:
    """What a file says of one node. `neurons` bool, `neurons_scores` float64: [d_model], or [head d_model] at a head.

    NaN as a score: not scored.
    """

    in_graph: bool
    score: float | None = None
    neurons: np.ndarray | None = None
    neurons_scores: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class EapGraph:
    """One such file. `in_graph` bool [edge] and `scores` float64 [edge] (importances, None where no edge has one) in the
    order of `shape.order`; `nodes` in that of `node_names`.

    Raises: InterchangeError where their sizes do not fit the shape.
    """

    shape: Shape
    nodes: tuple[NodeEntry, ...]
    in_graph: np.ndarray
    scores: np.ndarray | None

    def __post_init__(self) -> None:
        edges = [self.in_graph.shape, *([] if self.scores is None else [self.scores.shape])]
        if len(self.nodes) != len(node_names(self.shape)) or any(size != (self.shape.n_edges,) for size in edges):
            raise InterchangeError(
                f"{len(self.nodes)} nodes and edges of shape {edges}; {self.shape} has {len(node_names(self.shape))} and {self.shape.n_edges}."
            )

    @property
    def edges(self) -> tuple[Edge, ...]:
        """The edges that are in the graph, in the order of the file."""
        return tuple(edge for edge, inside in zip(self.shape.order, self.in_graph, strict=True) if inside)

    def __str__(self) -> str:
        scored = "no scores" if self.scores is None else "scores"
        return f"EAP-IG graph of {self.shape}: {int(self.in_graph.sum())} of {len(self.in_graph)} edges, {scored}"

    __repr__ = __str__


def node_names(shape: Shape) -> list[str]:
    """Their names of the nodes in the order of their files: input, the heads and the MLP of each layer, logits."""
    return [THEIR_INPUT, *(node.name for node in shape.graph.writers[1:]), "logits"]


def edge_name(edge: Edge) -> str:
    """Their name of an edge."""
    return f"{THEIR_INPUT}->{edge.receiver.name}" if edge.sender.kind == "embed" else edge.name


# ---------------------------------------------------------------- to JSON


def to_json(graph: EapGraph) -> str:
    """The text of a file, as `json.dump` writes it."""
    shape = graph.shape
    cfg = {
        "n_layers": shape.n_layers,
        "n_heads": shape.n_heads,
        "parallel_attn_mlp": shape.parallel,
        **({} if shape.d_model is None else {"d_model": shape.d_model}),
    }
    nodes = {name: _entry(node) for name, node in zip(node_names(shape), graph.nodes, strict=True)}
    scores = [{}] * len(graph.in_graph) if graph.scores is None else [{"score": s} for s in graph.scores.tolist()]
    found = zip(shape.order, scores, graph.in_graph.tolist(), strict=True)
    edges = {edge_name(edge): {**score, "in_graph": inside} for edge, score, inside in found}
    return json.dumps({"cfg": cfg, "nodes": nodes, "edges": edges})


def _entry(node: NodeEntry) -> dict[str, Any]:
    entry: dict[str, Any] = {"in_graph": node.in_graph}
    if node.score is not None:
        entry["score"] = node.score
    if node.neurons is not None:
        entry["neurons"] = node.neurons.tolist()
    if node.neurons_scores is not None:
        entry["neurons_scores"] = node.neurons_scores.tolist()
    return entry


# ---------------------------------------------------------------- from JSON


def load(path: str | Path) -> EapGraph:
    """Read a file, all of it or nothing. Raises: InterchangeError that names what is wrong and where."""
    where = str(path)
    data = members(f"{where!r}", read_json(path), ("cfg", "nodes", "edges"))
    cfg = members(f"{where!r}: cfg", data["cfg"], ("n_layers", "n_heads", "parallel_attn_mlp"), ("d_model",))
    edges, nodes = data["edges"], data["nodes"]
    if not isinstance(edges, dict) or not isinstance(nodes, dict):
        raise InterchangeError(f"{where!r}: 'nodes' and 'edges' must be objects with an entry per name.")
    width = _width(nodes) if cfg.get("d_model") is None else cfg["d_model"]
    try:
        shape = Shape(cfg["n_layers"], cfg["n_heads"], cfg["parallel_attn_mlp"], width)
    except InterchangeError as error:
        raise InterchangeError(f"{where!r}: {error}") from error
    # Compared before the graph is made, so that a false size costs nothing.
    if max(shape.n_layers, shape.n_heads) > len(edges) or shape.n_edges != len(edges):
        raise InterchangeError(
            f"{where!r}: {len(edges)} edges, which is not the number of a model with {shape}; expected every edge, once."
        )
    in_graph, scores = _edges(where, edges, shape)
    return EapGraph(shape, _nodes(where, nodes, shape), in_graph, scores)


def _width(nodes: dict[str, Any]) -> int | None:
    """How many neurons the first node that lists any has, for a file that does not say it; the others must have as many."""
    entries = [entry for entry in nodes.values() if isinstance(entry, dict)]
    for rows in (entry.get(key) for entry in entries for key in ("neurons", "neurons_scores")):
        if isinstance(rows, list) and rows:
            return len(rows[0]) if isinstance(rows[0], list) and rows[0] else len(rows)
    return None


def _nodes(where: str, nodes: dict[str, Any], shape: Shape) -> tuple[NodeEntry, ...]:
    names = node_names(shape)
    if odd := set(nodes) ^ set(names):
        name = min(odd)
        raise InterchangeError(
            f"{where!r}: node {name!r} is {'unknown' if name in nodes else 'missing'}; expected the nodes of a model with {shape}."
        )
    return tuple(_node(f"{where!r}: node {name}", nodes[name], name, shape) for name in names)


def _node(what: str, given: Any, name: str, shape: Shape) -> NodeEntry:
    if isinstance(given, bool):
        return NodeEntry(given)
    entry = members(what, given, ("in_graph",), ("score", "neurons", "neurons_scores"))
    score = number(f"{what}: score", entry["score"]) if entry.get("score") is not None else None
    width = shape.d_model or 0
    shapes: list[tuple[int, ...]] = [(width,), (shape.n_heads, width)][: 1 + name.startswith("a")]
    neurons, their_scores = (_array(what, entry, key, shapes) for key in ("neurons", "neurons_scores"))
    return NodeEntry(flag(f"{what}: in_graph", entry["in_graph"]), score, neurons, their_scores)


def _array(what: str, entry: dict[str, Any], key: str, shapes: list[tuple[int, ...]]) -> np.ndarray | None:
    """A list, or at a head possibly a list of lists."""
    if entry.get(key) is None:
        return None
    rows, where = entry[key], f"{what}: {key}"
    read = flag if key == "neurons" else number
    nested = isinstance(rows, list) and all(isinstance(row, list) for row in rows)
    sizes = {len(row) for row in rows} if nested else set()
    if not isinstance(rows, list) or len(sizes) > 1 or (len(rows), *sizes) not in shapes:
        wanted = " or ".join(" x ".join(map(str, size)) for size in shapes)
        raise InterchangeError(f"{where} is no list of the right size; expected {wanted} values.")
    values = [read(where, x) for row in (rows if nested else [rows]) for x in row]
    return np.array(values, dtype=bool if key == "neurons" else np.float64).reshape(len(rows), *sizes)


def _edges(where: str, edges: dict[str, Any], shape: Shape) -> tuple[np.ndarray, np.ndarray | None]:
    names = [edge_name(edge) for edge in shape.order]
    if strange := set(edges) - set(names):
        raise InterchangeError(
            f"{where!r}: unknown edge {min(strange)!r}; expected the edges of a model with {shape}, {names[0]!r} for one."
        )
    entries = [members(f"{where!r}: edge {n}", edges[n], ("in_graph",), ("score",)) for n in names]
    in_graph = [flag(f"{where!r}: edge {n}: in_graph", e["in_graph"]) for n, e in zip(names, entries, strict=True)]
    if all(entry.get("score") is None for entry in entries):
        return np.array(in_graph, dtype=bool), None
    if bare := next((n for n in names if "score" not in edges[n]), None):
        raise InterchangeError(f"{where!r}: edge {bare} has no score and others have one; expected all or none.")
    scores = [number(f"{where!r}: edge {n}: score", edges[n]["score"]) for n in names]
    return np.array(in_graph, dtype=bool), np.array(scores, dtype=np.float64)
