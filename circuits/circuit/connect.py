"""How the edges of a circuit hang together: whose a reader is, which edges lie on a path, and the edges between nodes.

A path runs from an embedding to the logits. It passes through a head from any of its readers (q, k or v) to its output. Where
edges are at positions, so is a path: an MLP and a query hand on at the position where they read, keys and values at every
position that may look at theirs. Of two numbered positions the later one looks at the earlier, as in language models; a
model whose tokens look ahead has more paths than are followed here. Of spans, whose order no edge tells, each looks at each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from circuits.circuit.circuit import Circuit, CircuitError, component
from circuits.terms.kinds import kinds_checked
from interp.attribution.batching.positions import Label
from interp.parts.graph import CHANNELS, EMBEDDINGS, Edge, Graph
from interp.parts.nodes import Node

#: A node at a position.
Place = tuple[Node, Label]
LOGITS: Final = Node("logits")
LIFTED_LEVELS: Final = ("blocks", "heads")


# ---------------------------------------------------------------- readers and their heads


def owners(reader: Node, group: int) -> tuple[Node, ...]:
    """The nodes that a reader belongs to: a head, an MLP, the logits; all query heads of its group for a shared K/V reader.

    group: query heads per K/V head.
    """
    if not reader.grouped:
        return (component(reader),)
    first = (reader.unit or 0) * group
    return tuple(Node("head", reader.layer, head) for head in range(first, first + group))


def group_size(edges: Iterable[Edge]) -> int:
    """Query heads per K/V head, told by the edges of a whole graph; 1 where no K/V reader is shared by a group.

    Raises: CircuitError where some readers of a layer are missing, as the size would then be a guess.
    """
    units: dict[int | None, dict[str, set[int]]] = defaultdict(lambda: {c: set() for c in CHANNELS})
    grouped = False
    for reader in {edge.receiver for edge in edges}:
        if reader.kind in CHANNELS:
            units[reader.layer][reader.kind].add(reader.unit or 0)
            grouped |= reader.grouped
    if not grouped:
        return 1
    counts = {tuple(len(found[c]) for c in CHANNELS) for found in units.values()}
    gaps = any(found != set(range(len(found))) for layer in units.values() for found in layer.values())
    queries, keys, values = counts.pop()
    if counts or gaps or not 0 < keys == values or not queries or queries % keys:
        raise CircuitError(
            "which heads share a K/V reader cannot be told from these edges, as some readers are missing; use the scores"
            " of every edge of the graph."
        )
    return queries // keys


# ---------------------------------------------------------------- paths


def on_paths(edges: Iterable[Edge], group: int, both_ways: bool = False) -> tuple[Edge, ...]:
    """The edges that lie on a path from an embedding to the logits, in the order given. both_ways: positions may look at later ones.

    Raises: CircuitError where there is no such path.
    """
    listed = tuple(edges)
    if not (kept := _on_paths(listed, group, both_ways)):
        raise CircuitError(
            f"no path from the embedding to the logits is left in these {len(listed)} edges; take more of them."
        )
    return kept


def connected(edges: Iterable[Edge], group: int, both_ways: bool = False) -> int:
    """How many of the edges lie on a path from an embedding to the logits."""
    return len(_on_paths(tuple(edges), group, both_ways))


def _on_paths(listed: Sequence[Edge], group: int, both_ways: bool) -> tuple[Edge, ...]:
    after: dict[Place, set[Place]] = defaultdict(set)
    before: dict[Place, set[Place]] = defaultdict(set)
    positions = dict.fromkeys(edge.position for edge in listed)
    into = {
        edge: [p for at in heard_at(edge, positions, both_ways) for p in _places(edge, at, group)] for edge in listed
    }
    for edge in listed:
        after[edge.sender, edge.position].update(into[edge])
        for place in into[edge]:
            before[place].add((edge.sender, edge.position))
    fed = _reached([(Node(kind), at) for kind in EMBEDDINGS for at in positions], after)
    heard = _reached([(LOGITS, at) for at in positions], before)
    return tuple(e for e in listed if (e.sender, e.position) in fed and not heard.isdisjoint(into[e]))


def _places(edge: Edge, at: Label, group: int) -> list[Place]:
    return [(owner, at) for owner in owners(edge.receiver, group)]


def heard_at(edge: Edge, positions: Iterable[Label], both_ways: bool = False) -> list[Label]:
    """At which of these positions the node that reads the edge may write what it made of it. both_ways: also at earlier ones."""
    if edge.receiver.kind not in ("k", "v", "attn_out"):  # a mixer without heads reads and writes as one node
        return [edge.position]
    return [at for at in positions if both_ways or may_look(at, edge.position)]


def may_look(here: Label, there: Label) -> bool:
    """Whether a token at `here` may look at one at `there`: not where numbers say that it comes later."""
    return here >= there if isinstance(here, int) and isinstance(there, int) else True


def _reached(start: Iterable[Place], steps: Mapping[Place, set[Place]]) -> set[Place]:
    """Every place that can be reached, the first ones too."""
    found, waiting = set(start), list(start)
    while waiting:
        new = steps.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


@kinds_checked
def prune(circuit: Circuit, graph: Graph | None = None) -> Circuit:
    """The circuit without the edges that lie on no path from an embedding to the logits.

    graph: that of the model; needed where K/V readers are shared by groups of heads.

    Raises: CircuitError for a circuit of nodes, a graph that is missing or another's, or where no path is left.
    """
    edges = circuit.edges
    if graph is not None:
        check_graph(circuit, graph)
    elif shared := next((e for e in edges if e.receiver.grouped), None):
        raise CircuitError(
            f"{shared.receiver.name} is shared by a group of heads, and a circuit does not say which; give prune the"
            " graph: interp.Graph.of(model.layout)."
        )
    kept = on_paths(edges, graph.group if graph else 1, circuit.both_ways)
    return replace(circuit, parts=kept, selection=circuit.selection + pruned_text(len(kept), len(edges)))


def pruned_text(kept: int, given: int) -> str:
    """How a pruned circuit says so in its `selection`."""
    return f", pruned to the {kept} of {given} edges on a path from embedding to logits"


# ---------------------------------------------------------------- circuits and the graph


def universe(level: str, graph: Graph) -> tuple[Edge, ...] | tuple[Node, ...]:
    """Every part that a circuit of this level may list, in the order of the graph.

    Raises: CircuitError for neurons, which the graph does not know.
    """
    if level == "edges":
        return graph.edges
    if level not in LIFTED_LEVELS:
        raise CircuitError(
            f"the graph of a model has no parts of level {level!r}: its nodes are attention blocks or heads and whole"
            f" MLPs; use a circuit of level {', '.join(LIFTED_LEVELS)} or edges."
        )
    return tuple(dict.fromkeys(_listed_as(w, level) for w in graph.writers if w.kind not in EMBEDDINGS))


def check_graph(circuit: Circuit, graph: Graph) -> None:
    """Raises: CircuitError where the circuit has a part that the graph lacks, or is one of another kind of graph."""
    if circuit.level == "edges":
        for name in ("kv", "split_positions"):
            ours, theirs = getattr(circuit, name), getattr(graph, name)
            if ours != theirs:
                raise CircuitError(
                    f"the circuit has {name}={ours!r} and the graph {name}={theirs!r}; make the graph with {name}={ours!r}."
                )
    known = frozenset(universe(circuit.level, graph))
    for part in circuit.parts:
        if replace(part, position=None) not in known:
            raise CircuitError(
                f"{part.name} is not in this graph ({graph}); give the graph of the circuit's own model."
            )


@kinds_checked
def lifted(circuit: Circuit, graph: Graph) -> Circuit:
    """The circuit of edges that holds every edge between nodes of a node circuit; embedding and logits are always in it.

    An attention block stands for all its heads; a K/V reader shared by a group is in with any of its query heads. An
    edge ranks as the less important of its two ends, so that the first edges are those of the first nodes.

    Raises: CircuitError for a circuit of neurons or edges, or a node that is not in the graph.
    """
    if circuit.level == "edges":
        raise CircuitError("this is a circuit of edges already; lifted takes a circuit of blocks or heads.")
    check_graph(circuit, graph)
    place = {node: i for i, node in enumerate(circuit.nodes)}
    place |= {Node(kind): -1 for kind in (*EMBEDDINGS, "logits")}
    found = []
    for edge in graph.edges:
        sender = place.get(_listed_as(edge.sender, circuit.level))
        ends = [_listed_as(owner, circuit.level) for owner in owners(edge.receiver, graph.group)]
        receivers = [place[end] for end in ends if end in place]
        if sender is not None and receivers:
            found.append((max(sender, min(receivers)), edge))
    found.sort(key=lambda pair: pair[0])
    return replace(
        circuit,
        parts=tuple(edge for _, edge in found),
        level="edges",
        selection=f"every edge between the {len(circuit)} nodes of ({circuit.selection})",
        kv=graph.kv,
        split_positions=graph.split_positions,
    )


def _listed_as(node: Node, level: str) -> Node:
    """The node that a node circuit lists a head or MLP as: at level `blocks` a head is its attention block."""
    return Node("attn_out", node.layer) if level == "blocks" and node.kind == "head" else node
