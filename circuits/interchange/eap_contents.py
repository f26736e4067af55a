"""Between the graph files of EAP-IG and our scores and circuits.

Scores go out as importances (`Scores.importance`), averaged over the examples, and come back with the sign that the
provenance gives them: what was written is what is read, bit for bit. What the file has no field for is in the file beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from circuits.circuit.circuit import Circuit
from circuits.interchange import sidecar
from circuits.interchange.contents import Contents
from circuits.interchange.eap_ig import EapGraph, NodeEntry, Shape, load, to_json
from circuits.interchange.sidecar import About
from circuits.interchange.strict import InterchangeError
from interp.files import write_text
from interp.parts.graph import Edge
from interp.scores.provenance import Provenance
from interp.scores.scores import Scores

UNKNOWN: Final = "unknown"


def to_graph(contents: Contents, shape: Shape) -> EapGraph:
    """Scores, a circuit or both as such a graph. Without scores every edge has 0, which EAP-IG itself starts from.

    Raises: InterchangeError for nodes, positions, grouped K/V readers, `pos_embed`, edges of another shape, or scores
    of some edges only.
    """
    _check_level(contents)
    for part in contents.parts:
        if isinstance(part, Edge):
            _check_edge(part, shape)
    scores = np.zeros(shape.n_edges)
    if contents.scores is not None:
        values = dict(zip(contents.scores.edges, contents.scores.importance.tolist(), strict=True))
        if len(values) < shape.n_edges:
            bare = next(edge for edge in shape.order if edge not in values)
            raise InterchangeError(
                f"{len(values)} of {shape.n_edges} edges are scored, {bare.name} is not; EAP-IG files hold every edge: score all."
            )
        scores = np.array([values[edge] for edge in shape.order])
    chosen = set(contents.circuit.edges) if contents.circuit is not None else set()
    in_graph = np.array([edge in chosen for edge in shape.order])
    return EapGraph(shape, _nodes(chosen, shape), in_graph, scores)


def _check_level(contents: Contents) -> None:
    if contents.level != "edges":
        raise InterchangeError(
            f"level {contents.level!r} given; EAP-IG files hold edges: score with level='edges', or lift a circuit of nodes with circuits.lifted."
        )
    if (contents.circuit is not None and contents.circuit.split_positions) or (
        contents.scores is not None and contents.scores.provenance.split_positions
    ):
        raise InterchangeError(
            "these edges have pos_embed apart; EAP-IG files have one input: score with split_positions=False."
        )


def _check_edge(edge: Edge, shape: Shape) -> None:
    if edge.position is not None:
        raise InterchangeError(f"{edge.name}: EAP-IG files have no positions; score with positions='all'.")
    if edge.receiver.grouped:
        raise InterchangeError(
            f"{edge.name}: a K/V reader shared by a group cannot be written; EAP-IG files have one per query head: score with kv='split'."
        )
    if edge not in shape.graph.index:
        raise InterchangeError(f"{edge.name} is no edge of a model with {shape}; give the shape of the model it is of.")


def _nodes(chosen: set[Edge], shape: Shape) -> tuple[NodeEntry, ...]:
    """A node is in their graph when an edge enters it and one leaves it; nothing enters the input; the logits always are."""
    left = {edge.sender.name for edge in chosen}
    entered = {"embed"} | {edge.receiver.name.partition("<")[0] for edge in chosen}
    inside = [node.name in left and node.name in entered for node in shape.graph.writers]
    return (*(NodeEntry(x) for x in inside), NodeEntry(True))


# ---------------------------------------------------------------- back


def to_contents(graph: EapGraph, about: About | None = None, name: str = "an EAP-IG file") -> Contents:
    """The scores and the circuit of such a graph. Without `about`, what the file cannot say is set to `unknown`.

    A graph whose edges are chosen and whose scores are all 0 has no scores. No edge chosen: no circuit.

    Raises: InterchangeError for scores that are not finite, scores of nodes only, or another circuit than `about` has.
    """
    circuit = _circuit(graph, about, name)
    scores = _scores(graph, about, circuit is not None, name)
    if scores is None and circuit is None:
        raise InterchangeError(f"{name} has no scores of edges and no edge in its graph; expected one of them.")
    return Contents(scores, circuit, () if about is not None else (_unknown(name, scores),))


def _unknown(name: str, scores: Scores | None) -> str:
    fields = "model, task, method" + (", metric and its unit, direction, ablation, base run, pairs" if scores else "")
    return f"{name} has no {sidecar.SUFFIX[1:]} beside it: {fields} are unknown."


def _scores(graph: EapGraph, about: About | None, chosen: bool, name: str) -> Scores | None:
    if graph.scores is None or (about is not None and about.scores is None):
        return None
    if about is None and not graph.scores.any() and (chosen or _only_nodes(graph)):
        return None
    bad = np.flatnonzero(~np.isfinite(graph.scores))
    if len(bad):
        raise InterchangeError(
            f"{name}: edge {graph.shape.order[bad[0]].name} has the score {graph.scores[bad[0]]} ({len(bad)} such edges); "
            "our scores are finite. circuits.interchange.eap_ig.load reads the file as it is."
        )
    provenance = about.scores if about is not None and about.scores is not None else unknown_provenance()
    place = {edge: i for i, edge in enumerate(graph.shape.order)}
    values = provenance.importance_sign * graph.scores[[place[edge] for edge in graph.shape.graph.edges]]
    return Scores(graph.shape.graph.edges, values[None], provenance)


def _only_nodes(graph: EapGraph) -> bool:
    return any(node.score is not None or node.neurons_scores is not None for node in graph.nodes)


def _circuit(graph: EapGraph, about: About | None, name: str) -> Circuit | None:
    edges = graph.edges
    if about is not None:
        if set(edges) != set(about.circuit.parts if about.circuit is not None else ()):
            raise InterchangeError(
                f"{name}: its provenance has another circuit; delete the provenance to read it as is."
            )
        return about.circuit
    if not edges:
        return None
    if graph.scores is not None:
        order = np.argsort(-np.abs(graph.scores[graph.in_graph]), kind="stable")
        edges = tuple(edges[i] for i in order)
    return Circuit(edges, "edges", UNKNOWN, UNKNOWN, UNKNOWN, f"in_graph of {name}", kv="split")


def unknown_provenance() -> Provenance:
    """The provenance of importances of which nothing else is known."""
    words = (
        "method",
        "direction",
        "ablation",
        "metric",
        "unit",
        "rules",
        "model",
        "task",
        "dtype",
        "attention",
        "padding",
    )
    numbers = ("base_metric", "forwards", "backwards", "seconds")
    known = {"level": "edges", "positions": "all", "importance_sign": 1, "exact": False, "kv": "split"}
    nothing = dict.fromkeys(("steps", "quadrature", "source_metric"))
    values: dict[str, Any] = {
        **dict.fromkeys(words, UNKNOWN),
        **dict.fromkeys(numbers, float("nan")),
        **known,
        **nothing,
    }
    return Provenance(**values, seed=0, n_pairs=0)


# ---------------------------------------------------------------- files


def read(path: Path) -> Contents:
    """The contents of a file, with its provenance if that is beside it. Raises: InterchangeError."""
    beside = sidecar.path_beside(path)
    graph = load(path)
    about = sidecar.of_file(path, sidecar.load(beside), path.name, beside)
    return to_contents(graph, about, path.name)


def write(contents: Contents, path: Path, shape: Shape) -> list[Path]:
    """Write a file and its provenance beside it; both paths. Raises: InterchangeError as `to_graph`."""
    text, beside = to_json(to_graph(contents, shape)), sidecar.path_beside(path)
    # The provenance first: if the work stops between the two, it describes a file that is not there, and is refused.
    sidecar.save(beside, {path.name: text}, {path.name: contents})
    write_text(path, text)
    return [path, beside]
