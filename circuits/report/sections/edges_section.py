"""Scores and circuits of edges as plain data: the drawn graph, and the maps of sender layer by receiver layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from circuits.report.drawing.layered import box_name, layered
from circuits.report.drawing.shared_groups import sharing
from circuits.report.sections.maps import MOST_NUMBERED, MOST_ROWS
from circuits.report.sections.signs import has_sign
from circuits.runs.naming import counted, of_edges
from circuits.terms.words import goal
from interp.formatting.numbers import decimals

if TYPE_CHECKING:
    from circuits.circuit.circuit import Circuit
    from circuits.runs.record import Record
    from interp.parts.graph import Edge
    from interp.parts.nodes import Node
    from interp.scores.scores import Scores

MOST_DRAWN: Final = 200
#: Edges drawn where no circuit was chosen.
STRONGEST: Final = 50
_CHANNELS: Final = ("q", "k", "v")
_READERS: Final = ("q", "k", "v", "mlp")
_SHORT: Final = {"head": "heads", "attn_out": "mixer", "mlp": "MLP"}
Key = tuple[int, int]
Place = Callable[["Edge"], tuple[Key, Key]]
Name = Callable[["Node"], str]


# ------------------------------------------------------------ graph


def graph(record: Record) -> dict[str, Any] | None:
    """The circuit as a graph, or the strongest edges where none was chosen; None for a circuit or a run of nodes."""
    if counted(record) != "edges":
        return None
    first = record.scores[0] if record.scores and of_edges(record) else None
    effects = by_edge(first, record.circuit) if first else {}
    if record.circuit is not None:
        edges: Sequence[Edge] = whole(record.circuit.edges)
    else:
        edges = strongest(first, STRONGEST) if first else []
    drawn = most_important(edges, effects)
    return {
        **_drawing(drawn, effects, sharing(first.edges, first.parts) if first else {}),
        "method": first.provenance.method if first else "",
        "unit": first.provenance.unit if first else "",
        "signed": has_sign(first),
        "goal": goal(first.provenance.metric if first else ""),
        "chosen": record.circuit is not None,
        "summed": first is not None and first.provenance.positions != "all",
        "apart": len(record.circuit) if record.circuit is not None and record.circuit.labels else 0,
        "n": len(edges),
        "left": len(edges) - len(drawn),
        "boxes_left": len(_boxes(edges)) - len(_boxes(drawn)),
        "unscored": sum(edge.name not in effects for edge in drawn),
    }


def by_edge(scores: Scores, circuit: Circuit | None = None) -> dict[str, tuple[float, float]]:
    """Score and importance of each edge, summed over positions where those are apart: over those that a circuit at positions has."""
    found: dict[str, tuple[float, float]] = {}
    inside = frozenset(circuit.parts) if circuit is not None and circuit.labels else frozenset(scores.parts)
    for edge, mean, importance in zip(scores.edges, scores.mean.tolist(), scores.importance.tolist(), strict=True):
        if edge not in inside:
            continue
        name = edge.name.partition("@")[0]
        before = found.get(name, (0.0, 0.0))
        found[name] = (before[0] + mean, before[1] + importance)
    return found


def strongest(scores: Scores, n: int) -> list[Edge]:
    """The first `n` edges of a ranking by size, each once whatever its positions."""
    edges = scores.edges
    found: dict[Edge, None] = {}
    for i in scores.rank().tolist():
        if len(found) == n:
            break
        found[replace(edges[i], position=None)] = None
    return list(found)


def whole(edges: Iterable[Edge]) -> list[Edge]:
    """Each edge once, whatever its positions."""
    return list(dict.fromkeys(replace(edge, position=None) for edge in edges))


def most_important(edges: Sequence[Edge], effects: Mapping[str, tuple[float, float]]) -> list[Edge]:
    """The edges that are drawn, strongest first; those without a score come last."""
    return sorted(edges, key=lambda edge: -abs(effects.get(edge.name, (0.0, 0.0))[1]))[:MOST_DRAWN]


def _boxes(edges: Sequence[Edge]) -> set[str]:
    return {box_name(node) for edge in edges for node in (edge.sender, edge.receiver)}


def _drawing(
    edges: Sequence[Edge], effects: Mapping[str, tuple[float, float]], shared: Mapping[str, str]
) -> dict[str, Any]:
    """Boxes and links of the edges drawn, strongest first. `shared`: head -> the keys and values that it shares."""
    places = layered(edges, shared=shared)
    links: list[dict[str, Any]] = []
    for edge in edges:
        ends = {"sender": box_name(edge.sender), "receiver": box_name(edge.receiver)}
        score, importance = effects.get(edge.name, (None, None))
        channel = edge.receiver.kind if edge.receiver.kind in _CHANNELS else ""
        links.append({"name": edge.name, **ends, "channel": channel, "score": score, "importance": importance})
    sizes = [abs(link["importance"]) for link in links if link["importance"] is not None]
    return {
        **places.as_data(),
        "links": links,
        "joins": [[group, head] for head, group in shared.items() if {head, group} <= places.boxes.keys()],
        "limit": max(sizes, default=0.0),
        "digits": decimals(sizes),
    }


# ------------------------------------------------------------ maps


def edge_maps(scores: Scores, chosen: frozenset[str], fine: bool) -> list[dict[str, Any]]:
    """Sum of the sizes of the scores from each layer to each layer; `fine`: also by kind of sender and reader."""
    found = [_map(scores, chosen, "by layer", _layers, _layer_name)]
    return [*found, _map(scores, chosen, "by layer and kind", _kinds, _kind_of_layer)] if fine else found


def _layers(edge: Edge) -> tuple[Key, Key]:
    return (_place(edge.receiver), 0), (_place(edge.sender), 0)


def _kinds(edge: Edge) -> tuple[Key, Key]:
    reader, writer = edge.receiver.kind, edge.sender.kind
    return (
        (_place(edge.receiver), _READERS.index(reader) if reader in _READERS else 0),
        (_place(edge.sender), int(writer == "mlp")),
    )


def _place(node: Node) -> int:
    """Layers count from 0; embeddings come before them and the logits after all."""
    if node.layer is not None:
        return node.layer
    return {"embed": -2, "pos_embed": -1}.get(node.kind, 10**6)


def _layer_name(node: Node) -> str:
    return node.name if node.layer is None else str(node.layer)


def _kind_of_layer(node: Node) -> str:
    return node.name if node.layer is None else f"{node.layer} {_SHORT.get(node.kind, node.kind)}"


def _map(scores: Scores, chosen: frozenset[str], title: str, place: Place, name: Name) -> dict[str, Any]:
    """The grid of one method: rows are readers, columns senders; None where no edge was scored."""
    sums: dict[tuple[Key, Key], list[float]] = {}
    readers: dict[Key, str] = {}
    senders: dict[Key, str] = {}
    for edge, mean in zip(scores.edges, scores.mean.tolist(), strict=True):
        at = place(edge)
        cell = sums.setdefault(at, [0.0, 0, 0])
        cell[0], cell[1], cell[2] = cell[0] + abs(mean), cell[1] + 1, cell[2] + (edge.name in chosen)
        readers.setdefault(at[0], name(edge.receiver))
        senders.setdefault(at[1], name(edge.sender))
    rows, note = _strongest_rows(sums)
    columns = sorted(senders)
    shown = [[sums.get((row, column)) for column in columns] for row in rows]
    # The embedding, often far larger than all others, does not set the scale.
    sizes = [cell[0] for at, cell in sums.items() if at[1][0] >= 0] or [cell[0] for cell in sums.values()]
    words = {
        "title": title,
        "row_title": "read by layer",
        "column_title": "sent by layer",
        "rows": [readers[row] for row in rows],
        "columns": [senders[column] for column in columns],
        "unit": scores.provenance.unit,
        "note": note,
    }
    return {**words, **_cells(shown, words), "limit": max(sizes, default=0.0), "digits": decimals(sizes, 3)}


def _cells(shown: list[list[list[float] | None]], words: Mapping[str, Any]) -> dict[str, Any]:
    """Sums [row column] as the heat map draws them; each cell holds its sum, its edges, and those in the circuit."""
    columns = words["columns"]
    return {
        "form": "grid",
        "signed": False,
        "values": [[None if cell is None else cell[0] for cell in row] for row in shown],
        "names": [
            [_about(sender, reader, cell) for sender, cell in zip(columns, row, strict=True)]
            for reader, row in zip(words["rows"], shown, strict=True)
        ],
        "marked": [[cell is not None and cell[2] > 0 for cell in row] for row in shown],
        "numbers": len(columns) <= MOST_NUMBERED,
    }


def _about(sender: str, receiver: str, cell: list[float] | None) -> str:
    if cell is None:
        return ""
    inside = f", {int(cell[2])} in the circuit" if cell[2] else ""
    return f"{sender} → {receiver}, {int(cell[1])} edge{'s' if cell[1] != 1 else ''}{inside}"


def _strongest_rows(sums: Mapping[tuple[Key, Key], list[float]]) -> tuple[list[Key], str]:
    size: dict[Key, float] = {}
    for (row, _), cell in sums.items():
        size[row] = max(size.get(row, 0.0), cell[0])
    if len(size) <= MOST_ROWS:
        return sorted(size), ""
    kept = sorted(sorted(size, key=lambda row: (-size[row], row))[:MOST_ROWS])
    return kept, f"Shown are the {MOST_ROWS} of {len(size)} rows with the largest sums."
