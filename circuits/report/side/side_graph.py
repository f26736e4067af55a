"""Two circuits drawn alike: what either holds stands in the same place in both pictures, and what only one holds is marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from circuits.report.drawing.feature_boxes import feature_boxes, in_sites, place
from circuits.report.drawing.layered import box_name, layered
from circuits.report.sections.edges_section import by_edge, most_important, whole
from circuits.report.sections.signs import has_sign
from circuits.report.view.view_words import n_exact
from circuits.terms.words import goal
from interp.formatting.numbers import count, decimals
from interp.formatting.text import visible

if TYPE_CHECKING:
    from circuits.comparison.sides import Side, SideBySide
    from interp.parts.graph import Edge
    from interp.parts.nodes import Node
    from interp.scores.scores import Scores

MOST_EDGES: Final = 150
#: As many nodes of each circuit as can be read in half a page, and so many among them that only it holds, where it holds more.
MOST_NODES: Final = 20
MOST_ONLY: Final = 8
#: Width of the columns in half a page.
HALF: Final = 380.0
#: Edges drawn of a circuit of nodes, each.
MOST_BETWEEN: Final = 30
_CHANNELS: Final = ("q", "k", "v")
Effects = Mapping[str, tuple[float, float]]


def graphs(found: SideBySide) -> dict[str, Any] | None:
    """Both drawings, and what they leave out; None where the circuits cannot be matched or are empty."""
    if found.comparison is None or not found.rows:
        return None
    sides = (found.a, found.b)
    shown = [_nodes(*sides), _nodes(*sides[::-1])]
    held = [_held(side, nodes) for side, nodes in zip(sides, shown, strict=True)]
    nodes = list(dict.fromkeys(node for own in shown for node in own))
    union = list(dict.fromkeys(edge for side, own in zip(sides, held, strict=True) for edge in _first(side, *own)))
    if not nodes and not union:
        return None
    frame = _frame(union, nodes, found.comparison.level)
    # What is among the first of one side is drawn on the other too, where that holds it: else it would look like a difference.
    sets = [frozenset(edges) for edges, _ in held]
    drawn = [([e for e in union if e in own], effects) for own, (_, effects) in zip(sets, held, strict=True)]
    return {
        "pictures": _pictures(found, frame, union, drawn),
        "links": bool(union),
        "of_edges": found.comparison.level == "edges",
        "left": [_left(side, own, edges) for side, own, (edges, _) in zip(sides, shown, drawn, strict=True)],
        "shared_scale": _one_scale(found),
        "groups": found.comparison.level != "features" and any(box["kind"] == "kv" for box in frame["boxes"]),
        "known": _known(sides, [edges for edges, _ in drawn]),
        **_meaning(sides),
    }


def _one_scale(found: SideBySide) -> bool:
    return not found.unmixed and found.comparison is not None and found.comparison.level == "edges"


def _pictures(
    found: SideBySide, frame: Mapping[str, Any], union: Sequence[Edge], drawn: Sequence[tuple[list[Edge], Effects]]
) -> list[dict[str, Any]]:
    """Each side in the common frame. Edges of both are drawn thin, so that they do not set the scale."""
    sides, both = (found.a, found.b), frozenset(drawn[0][0]) & frozenset(drawn[1][0])
    limits = [_limit([e for e in edges if e not in both], effects) for edges, effects in drawn]
    limits = [max(limits)] * 2 if _one_scale(found) else limits
    there = [(edges, _boxes(side, edges)) for side, (edges, _) in zip(sides, drawn, strict=True)]
    return [
        _picture("AB"[i], frame, union, there[i], there[1 - i], drawn[i][1], limits[i], _unit(side))
        for i, side in enumerate(sides)
    ]


def _known(sides: Sequence[Side], drawn: Sequence[Sequence[Edge]]) -> str:
    """Which of the edges that are drawn between the nodes of each circuit are exact; empty for circuits of edges."""
    said = []
    for letter, side, edges in zip("AB", sides, drawn, strict=True):
        if not edges or side.links is None or _linked(side) is not side.links:
            continue
        n, by = n_exact(side.links, {edge.name for edge in edges}), visible(side.links.provenance.method)
        some = f"{count(n)} of {count(len(edges))} exact, the others estimated by {by}"
        said.append(f"in {letter} {'all exact' if n == len(edges) else some if n else f'all estimated by {by}'}")
    return "; ".join(said)


def _meaning(sides: Sequence[Side]) -> dict[str, str]:
    """What the edges of one side only work for, where their scores have a sign; the sides where they have none."""
    linked = {letter: _linked(side) for letter, side in zip("AB", sides, strict=True)}
    goals = {goal(scores.provenance.metric) for scores in linked.values() if scores is not None and has_sign(scores)}
    unsigned = [letter for letter, scores in linked.items() if scores is not None and not has_sign(scores)]
    return {
        "goal": goals.pop() if len(goals) == 1 else "the metric" if goals else "",
        "unsigned": " and ".join(unsigned),
    }


def _linked(side: Side) -> Scores | None:
    """The scores of the edges that are drawn of a side."""
    return side.scores if side.circuit is not None and side.circuit.level == "edges" else side.links


def _unit(side: Side) -> str:
    scores = side.scores or side.links
    return scores.provenance.unit if scores else ""


def _first(side: Side, edges: Sequence[Edge], effects: Effects) -> list[Edge]:
    """The strongest edges of a side."""
    of_edges = side.circuit is not None and side.circuit.level == "edges"
    return most_important(edges, effects)[: MOST_EDGES if of_edges else MOST_BETWEEN]


def _held(side: Side, nodes: Sequence[Node]) -> tuple[list[Edge], Effects]:
    """The edges of a side, and their effects: those of its circuit, or all that were scored between some nodes of its circuit."""
    circuit = side.circuit
    if circuit is None:
        return [], {}
    if circuit.level == "edges":
        return whole(circuit.edges), by_edge(side.scores, circuit) if side.scores else {}
    if side.links is None:
        return [], {}
    inside, effects = {node.name for node in nodes}, by_edge(side.links)
    between = [
        e for e in side.links.edges if all(_everywhere(n) or box_name(n) in inside for n in (e.sender, e.receiver))
    ]
    return between, effects


def _everywhere(node: Node) -> bool:
    """Whether no circuit of nodes lists a node: the embedding, the logits, keys and values that several heads share."""
    return node.layer is None or node.grouped


def _nodes(side: Side, other: Side) -> list[Node]:
    """The boxes of a circuit of nodes, in its order: the first, and the first that the other circuit lacks."""
    if side.circuit is None or side.circuit.level == "edges":
        return []
    own, there = side.circuit.nodes, frozenset(other.circuit.nodes if other.circuit else ())
    only = [node for node in own if node not in there][:MOST_ONLY]
    kept = frozenset([*only, *[node for node in own if node not in only][: MOST_NODES - len(only)]])
    return [node for node in own if node in kept]


def _boxes(side: Side, edges: Sequence[Edge]) -> set[str]:
    """The boxes that a side really has. The embedding and the logits belong to every circuit."""
    ends = [node for edge in edges for node in (edge.sender, edge.receiver)]
    circuit = side.circuit.nodes if side.circuit else ()
    return {box_name(node) for node in (*ends, *circuit)}


def _left(side: Side, nodes: Sequence[Node], edges: Sequence[Edge]) -> int:
    if side.circuit is None:
        return 0
    return len(side.circuit) - (len(edges) if side.circuit.level == "edges" else len(nodes))


def _limit(edges: Sequence[Edge], effects: Effects) -> float:
    return max((abs(effects[e.name][1]) for e in edges if e.name in effects), default=0.0)


# ---------------------------------------------------------------- places


def _frame(edges: Sequence[Edge], nodes: Sequence[Node], level: str) -> dict[str, Any]:
    """The boxes of both in their rows."""
    if level == "features":
        ends = [n for e in edges for n in (e.sender, e.receiver) if n.kind != "logits"]
        sites = {place(n): n for n in (*nodes, *ends)}
        rows = sorted(
            sites, key=lambda name: (sites[name].layer is not None, sites[name].layer or 0, _stage(name), name)
        )
        return in_sites(feature_boxes(edges, rows, nodes), rows)
    return layered(edges, nodes).as_data()


def _stage(site: str) -> int:
    """Where in its layer a site is."""
    kinds = ("resid_pre", "z", "attn_out", "resid_mid", "mlp_out", "resid_post")
    kind = site.partition(".")[0]
    return kinds.index(kind) if kind in kinds else len(kinds)


def _picture(
    name: str,
    frame: Mapping[str, Any],
    union: Sequence[Edge],
    own: tuple[Sequence[Edge], set[str]],
    other: tuple[Sequence[Edge], set[str]],
    effects: Effects,
    limit: float,
    unit: str,
) -> dict[str, Any]:
    """One side in the common frame: every box and link, each marked `both`, `only` here, or `absent` here."""
    edges, boxes = frozenset(own[0]), own[1]
    others, there = frozenset(other[0]), other[1]
    links = [_link(edge, effects, _mark(edge in edges, edge in others)) for edge in union]
    marked = [{**box, "mark": _mark(box["name"] in boxes, box["name"] in there)} for box in frame["boxes"]]
    sizes = [abs(link["importance"]) for link in links if link["importance"] is not None]
    shown = [box["name"] for box in marked if box["mark"] != "absent"]
    only = [part["name"] for part in (*marked, *links) if part["mark"] == "only"]
    listed = f": {', '.join(only[:20])}{' and more' if len(only) > 20 else ''}" if only else ""
    return {
        "boxes": marked,
        "layers": frame["layers"],
        "width": frame["width"],
        "page": HALF,
        "rows_shown": frame["rows_shown"],
        "rows_of": frame["rows_of"],
        "links": links,
        "limit": limit,
        "digits": decimals(sizes),
        "unit": unit,
        "chosen": True,
        "title": f"Circuit {name}",
        "about": f"{count(len(shown))} nodes and {count(len(edges))} edges drawn; {count(len(only))} only in {name}{listed}.",
    }


def _mark(here: bool, there: bool) -> str:
    return "both" if here and there else "only" if here else "absent"


def _link(edge: Edge, effects: Effects, mark: str) -> dict[str, Any]:
    score, importance = effects.get(edge.name, (None, None)) if mark != "absent" else (None, None)
    return {
        "name": edge.name,
        "sender": box_name(edge.sender),
        "receiver": box_name(edge.receiver),
        "channel": edge.receiver.kind if edge.receiver.kind in _CHANNELS else "",
        "score": score,
        "importance": importance,
        "mark": mark,
    }
