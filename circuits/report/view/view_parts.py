"""What the page holds of a circuit, and what is known of each node and edge of it: its score, interval, rank, and whether it is exact, in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from circuits.report.drawing.layered import row_at, row_of_layer
from circuits.report.drawing.shared_groups import sharing
from circuits.report.sections.search_section import how_known
from circuits.report.sections.signs import has_sign
from circuits.terms.words import goal
from interp.formatting.numbers import count, decimals, interval, score

if TYPE_CHECKING:
    from circuits.circuit.circuit import Circuit
    from interp.parts.graph import Edge, Part
    from interp.parts.nodes import Node
    from interp.scores.scores import Scores

#: What a part without a score says.
UNSCORED: Final = {
    "score": "",
    "interval": "",
    "known": "",
    "rank": "",
    "importance": None,
    "share": 0.0,
    "sign": "plain",
    "works": "",
}
UNCLEAR: Final = "not clear: the interval holds 0"
WORKS: Final = {"pos": "for", "neg": "against"}


@dataclass(frozen=True)
class _Known:
    """One part of some scores: its place in them, its mean and importance, its rank by size among `n`."""

    place: int
    mean: float
    importance: float
    rank: int


class Facts:
    """The facts of the parts of some scores, written alike. None: nothing was scored."""

    def __init__(self, scores: Scores | None) -> None:
        self.scores = scores
        self.known: dict[str, _Known] = {}
        if scores is None:
            return
        ranks = {int(i): rank for rank, i in enumerate(scores.rank(), 1)}
        both = zip(scores.parts, scores.mean.tolist(), scores.importance.tolist(), strict=True)
        for i, (part, mean, importance) in enumerate(both):
            self.known[part.name] = _Known(i, mean, importance, ranks[i])
        inner = [k.mean for name, k in self.known.items() if name.rpartition(":")[2] != "embed"] or [
            k.mean for k in self.known.values()
        ]
        self.digits = decimals(inner)
        self.errors = scores.stderr

    def limit(self, parts: Iterable[Part]) -> float:
        """The largest importance of some parts, by size. The embedding, often far larger than all others, does not count."""
        found = [abs(k.importance) for p in parts if p.kind != "embed" and (k := self.known.get(p.name))]
        return max(found, default=0.0)

    def digits_of(self, value: float) -> int:
        """Digits after the point; a small score keeps two that say something."""
        return max(self.digits, decimals([value], 2)) if value else self.digits

    def of(self, name: str, limit: float) -> dict[str, Any]:
        """What is shown of one part; `limit`: the importance that is drawn strongest."""
        known, scores = self.known.get(name), self.scores
        if known is None or scores is None:
            return dict(UNSCORED)
        error = float(self.errors[known.place])
        bounds = [known.mean - 1.96 * error, known.mean + 1.96 * error] if math.isfinite(error) else None
        unit = scores.provenance.unit
        digits = self.digits_of(known.mean)
        return {
            "score": f"{score(known.mean, digits)} {unit}",
            "interval": interval(bounds, digits) if bounds else "",
            "known": _how(scores, known.place),
            "rank": f"{count(known.rank)} of {count(len(scores.parts))}",
            "importance": float(f"{known.importance:.8g}"),
            "share": round(min(1.0, abs(known.importance) / limit), 3) if limit else 0.0,
            "sign": _sign(known.importance),
            "works": self._works(_sign(known.importance), bounds),
        }

    def _works(self, sign: str, bounds: Sequence[float] | None) -> str:
        if self.scores is None or sign not in WORKS or not has_sign(self.scores):
            return ""
        if bounds is not None and bounds[0] <= 0 <= bounds[1]:
            return UNCLEAR
        return f"{WORKS[sign]} {goal(self.scores.provenance.metric)}"


def _sign(importance: float) -> str:
    return "neg" if importance < 0 else "pos" if importance > 0 else "plain"


def _how(scores: Scores, place: int) -> str:
    """Whether a score is exact or estimated, and by which method."""
    exact = scores.exact is not None and bool(scores.exact[place])
    found = how_known(scores, place) or ("exact" if exact else "estimated")
    return found if found == "exact" else f"{found} (by {scores.provenance.method})"


def shares(value: float | None, limit: float) -> float:
    """The size of a value as a share of the largest, 0 to 1; 0 for none."""
    return round(min(1.0, abs(value) / limit), 2) if value is not None and limit else 0.0


@dataclass(frozen=True)
class Parts:
    """What the page holds of a circuit. `order`: the parts as they enter; `nodes`, `edges`: what can be drawn of them, of `n_edges`
    edges; `linked`: the scores of the edges; `sites`: the rows of a circuit of features."""

    circuit: Circuit
    scores: Scores | None
    order: list[Part]
    nodes: list[Node]
    edges: list[Edge]
    n_edges: int
    linked: Scores | None
    sites: list[str]

    @property
    def of_edges(self) -> bool:
        """Whether the circuit is one of edges."""
        return self.circuit.level == "edges"

    @cached_property
    def shared(self) -> dict[str, str]:
        """Head -> the keys and values that it shares with others, where the model is of that kind."""
        if self.linked is None or self.circuit.level == "features":
            return {}
        return sharing(self.linked.edges, self.scores.parts if self.scores else ())

    @cached_property
    def rows(self) -> list[str]:
        """The rows of the drawing, the lowest first: all layers that are known of, or the sites of features."""
        if self.sites:
            return self.sites
        parts = [*self.order, *(self.scores.parts if self.scores else ())]
        found = {row for part in parts for node in _ends(part) if (row := row_at(node)) is not None}
        last = {(own, stack): layer for own, stack, layer in sorted(found)}
        return [row_of_layer(stack, layer) for (_, stack), n in last.items() for layer in range(n + 1)]

    @property
    def n_held(self) -> int:
        """How many parts of the order the page holds."""
        return len(self.edges if self.of_edges else self.nodes)


def _ends(part: Part) -> tuple[Node, ...]:
    """The nodes that a part is or joins."""
    from interp.parts.nodes import Node

    return (part,) if isinstance(part, Node) else (part.sender, part.receiver)


def is_end(node: Node) -> bool:
    """Whether a node is in every circuit, so that none lists it: the embedding, the logits, errors, shared K/V readers."""
    return node.layer is None or node.kind.endswith(".error") or node.grouped
