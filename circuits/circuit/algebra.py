"""Circuits as sets: union, intersection, difference, complement, and how much two of them have in common.

Two circuits can be combined or compared where their parts mean the same: same level, same model, same kind of graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from circuits.circuit.chance import Chance, shared_by_chance
from circuits.circuit.circuit import Circuit, CircuitError, component
from circuits.circuit.connect import check_graph, universe
from circuits.terms.kinds import kinds_checked
from interp.errors import InterpError
from interp.formatting.table import Table, lines_of
from interp.formatting.text import printed, visible
from interp.parts.graph import Edge, Graph, Part
from interp.parts.nodes import Node

_SAME: Final = ("level", "model", "kv", "split_positions", "dictionaries", "positions", "labels")
_SHOWN: Final = 12


# ---------------------------------------------------------------- sets


@kinds_checked
def union(a: Circuit, b: Circuit) -> Circuit:
    """The parts of either: those of `a` in their order, then the others of `b`. Raises: CircuitError if they do not fit."""
    return _combined("union", "with", a, b, tuple(dict.fromkeys((*a.parts, *b.parts))))


@kinds_checked
def intersection(a: Circuit, b: Circuit) -> Circuit:
    """The parts of both, in the order of `a`; there may be none. Raises: CircuitError if they do not fit."""
    others = frozenset(b.parts)
    return _combined("intersection", "with", a, b, tuple(p for p in a.parts if p in others))


@kinds_checked
def difference(a: Circuit, b: Circuit) -> Circuit:
    """The parts of `a` that are not in `b`, in order; there may be none. Raises: CircuitError if they do not fit."""
    others = frozenset(b.parts)
    return _combined("difference", "without", a, b, tuple(p for p in a.parts if p not in others))


@kinds_checked
def complement(circuit: Circuit, graph: Graph) -> Circuit:
    """Every part of the graph that the circuit does not hold, in the order of the graph; there may be none. Of edges at positions,
    at all of its labels.

    Raises: CircuitError for a circuit of neurons, or one that is not of this graph.
    """
    check_graph(circuit, graph)
    held = frozenset(circuit.parts)
    everything = graph.at_positions(circuit.labels) if circuit.labels else universe(circuit.level, graph)
    rest = tuple(part for part in everything if part not in held)
    return replace(circuit, parts=rest, selection=f"complement of ({circuit.selection})")


def _combined(what: str, word: str, a: Circuit, b: Circuit, parts: tuple[Part, ...]) -> Circuit:
    """A circuit from two. Its scored pairs are those of both, so that none of them passes for held out."""
    _check_same(a, b)
    return replace(
        a,
        parts=parts,
        task=_both(a.task, b.task),
        method=_both(a.method, b.method),
        selection=f"{what} of ({a.selection}) {word} ({b.selection})",
        scored_pairs=tuple(dict.fromkeys((*a.scored_pairs, *b.scored_pairs))),
    )


def _both(a: str, b: str) -> str:
    return a if a == b else f"{a} and {b}"


def _check_same(a: Circuit, b: Circuit) -> None:
    for name in _SAME:
        ours, theirs = getattr(a, name), getattr(b, name)
        alike = (name == "kv" and not grouped(a.parts) and not grouped(b.parts)) or (
            name == "labels" and set(ours) == set(theirs)
        )
        if ours != theirs and not alike:
            raise CircuitError(
                f"the circuits have {name}={ours!r} and {name}={theirs!r}; combine and compare circuits of the same {name}."
            )


def grouped(parts: Iterable[Part]) -> bool:
    """Whether a K/V reader is shared by a group; where none is, shared and split mean the same edges."""
    return any(isinstance(part, Edge) and part.receiver.grouped for part in parts)


# ---------------------------------------------------------------- comparison


@dataclass(frozen=True)
class Overlap:
    """How many parts of one kind, or touching one node, are in the first circuit only, the second only, and both."""

    name: str
    only_a: int
    only_b: int
    both: int

    @property
    def jaccard(self) -> float:
        """Shared parts over all parts, in 0..1; 1 where neither circuit has any, as they then are equal."""
        total = self.only_a + self.only_b + self.both
        return self.both / total if total else 1.0


@dataclass(frozen=True, repr=False)
class Comparison(Table):
    """What two circuits have in common: over all parts, per kind of part, and per node that a part touches.

    `size_a`, `size_b`: parts. `nodes_a`, `nodes_b`: the nodes that each holds; of a circuit of edges those that its edges
    touch, embedding and logits too. `chance`: what random circuits like them share, where it is known what they were chosen from. plot(): bars of the parts of each kind, those of one and those of both.
    """

    fault: ClassVar[type[InterpError]] = CircuitError

    level: str
    size_a: int
    size_b: int
    parts: Overlap
    kinds: tuple[Overlap, ...]
    by_node: tuple[Overlap, ...]
    nodes_a: tuple[Node, ...]
    nodes_b: tuple[Node, ...]
    chance: Chance | None = None

    @property
    def jaccard(self) -> float:
        """Shared parts over all parts of the two circuits, in 0..1."""
        return self.parts.jaccard

    @property
    def both(self) -> tuple[Node, ...]:
        """The nodes in both circuits, in the order of the first."""
        others = frozenset(self.nodes_b)
        return tuple(node for node in self.nodes_a if node in others)

    @property
    def only_a(self) -> tuple[Node, ...]:
        """The nodes in the first circuit only."""
        others = frozenset(self.nodes_b)
        return tuple(node for node in self.nodes_a if node not in others)

    @property
    def only_b(self) -> tuple[Node, ...]:
        """The nodes in the second circuit only."""
        others = frozenset(self.nodes_a)
        return tuple(node for node in self.nodes_b if node not in others)

    def to_pandas(self) -> Any:
        """A table: of (all, kind, node), name, only_a, only_b, both (counts of parts), jaccard."""
        groups = (("all", (self.parts,)), ("kind", self.kinds), ("node", self.by_node))
        rows = [(of, o.name, o.only_a, o.only_b, o.both, o.jaccard) for of, found in groups for o in found]
        return lines_of(("of", "name", "only_a", "only_b", "both", "jaccard"), rows)

    def __str__(self) -> str:
        what = "edges" if self.level == "edges" else "nodes"
        by_chance = f", {self.chance}" if self.chance is not None else ""
        lines = [
            f"{self.size_a} and {self.size_b} {what}, {self.parts.both} in both: Jaccard {self.jaccard:.3f}{by_chance}",
            f"  {'kind':<14}{'only a':>8}{'only b':>8}{'both':>8}{'Jaccard':>9}",
        ]
        lines += [f"  {visible(o.name):<14}{o.only_a:>8}{o.only_b:>8}{o.both:>8}{o.jaccard:>9.3f}" for o in self.kinds]
        sides = (("nodes in both", self.both), ("nodes only in a", self.only_a), ("nodes only in b", self.only_b))
        return printed("\n".join(lines + [f"  {name}: {_listing(nodes)}" for name, nodes in sides]))


@kinds_checked
def compare(a: Circuit, b: Circuit, parts: Iterable[Part] | None = None) -> Comparison:
    """How much two circuits have in common. `parts`: all that they were chosen from, such as those of their scores or the edges of a
    graph, for what random circuits with as many parts of each kind share. Raises: CircuitError if they do not fit."""
    _check_same(a, b)
    first, second = frozenset(a.parts), frozenset(b.parts)
    return Comparison(
        a.level,
        len(a),
        len(b),
        Overlap("all", len(first - second), len(second - first), len(first & second)),
        _overlaps(a, b, lambda part: (part.kind,)),
        _overlaps(a, b, _touched),
        a.nodes,
        b.nodes,
        shared_by_chance(a.parts, b.parts, parts) if parts is not None else None,
    )


def _overlaps(a: Circuit, b: Circuit, names: Callable[[Part], Iterable[str]]) -> tuple[Overlap, ...]:
    """An overlap per name, in the order of first sight; a part counts for every name that it has."""
    first, second = frozenset(a.parts), frozenset(b.parts)
    counts: Counter[tuple[str, bool, bool]] = Counter()
    for part in dict.fromkeys((*a.parts, *b.parts)):
        counts.update((name, part in first, part in second) for name in names(part))
    order = dict.fromkeys(name for name, _, _ in counts)
    return tuple(Overlap(n, counts[n, True, False], counts[n, False, True], counts[n, True, True]) for n in order)


def _touched(part: Part) -> tuple[str, ...]:
    """The nodes that a part is or touches, a head once whatever it is read by."""
    return (part.sender.name, component(part.receiver).name) if isinstance(part, Edge) else (part.name,)


def _listing(nodes: tuple[Node, ...]) -> str:
    shown = ", ".join(node.name for node in nodes[:_SHOWN])
    rest = len(nodes) - _SHOWN
    return (shown or "none") + (f" and {rest} more" if rest > 0 else "")
