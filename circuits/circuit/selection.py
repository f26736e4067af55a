"""From scores to a circuit: an order to take the parts in, and where to stop.

The orders are in a registry: the CLI's choices, the docs table and the conformance tests come from it.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final, cast

import numpy as np

from circuits.circuit import connect
from circuits.circuit.circuit import Circuit, CircuitError, listable
from circuits.terms.kinds import kinds_checked
from interp.attribution.batching.positions import Label
from interp.parts.graph import KeyValue, Part
from interp.parts.nodes import CIRCUIT_LEVELS, Node
from interp.registries import About, Registry
from interp.scores.scores import Ranking, Scores
from interp.whole_numbers import is_whole

Function = Callable[[Scores, Ranking], list[int]]


@dataclass(frozen=True)
class Selection:
    """An order to take parts in: `function` returns their indices in the scores, first choice first.

    `levels`: the levels of circuits that it can make.
    """

    name: str
    function: Function
    description: str
    source: str
    levels: tuple[str, ...] = CIRCUIT_LEVELS

    @property
    def about(self) -> About:
        return About(self.description, source=self.source)


SELECTIONS: Final[Registry[Selection]] = Registry("selection", "circuits.selections", CircuitError)


def selection(
    name: str, *, description: str, source: str, levels: tuple[str, ...] = CIRCUIT_LEVELS
) -> Callable[[Function], Function]:
    """Register `function` as the selection `name`."""

    def register(function: Function) -> Function:
        SELECTIONS.add(Selection(name, function, description, source, levels))
        return function

    return register


def get_selection(name: str) -> Selection:
    """The selection of this name. Raises: CircuitError with the near names."""
    return SELECTIONS[name]


def selections() -> Any:
    """A table of all selections: name, description, levels, source."""
    import pandas as pd

    rows = [(s.name, s.description, ", ".join(s.levels), s.source) for s in SELECTIONS.values()]
    return pd.DataFrame(rows, columns=["name", "description", "levels", "source"])


# ---------------------------------------------------------------- orders


@selection("top", description="the most important first, each by itself", source="Syed 2023, EAP")
def ranked(scores: Scores, ranking: Ranking = "absolute") -> list[int]:
    """Indices of the parts that a circuit may list, most important first: edges, nodes without the embedding, features
    without the errors.

    Raises: CircuitError for levels or positions that are maps.
    """
    level, positions = scores.provenance.level, scores.provenance.positions
    if level not in CIRCUIT_LEVELS:
        raise CircuitError(
            f"level {level!r} is a map, not a set of parts: circuits exist for {', '.join(CIRCUIT_LEVELS)}."
        )
    if positions != "all" and level != "edges":
        raise CircuitError(
            f"scores of level {level!r} with positions={positions!r} are a map; make a circuit from positions='all', or of "
            "edges."
        )
    return [int(i) for i in scores.rank(ranking) if listable(scores.parts[i])]


@selection(
    "greedy",
    description="from the logits backwards, each time the most important edge into a node that is already in",
    source="Hanna 2024, EAP-IG",
    levels=("edges",),
)
def greedy(scores: Scores, ranking: Ranking = "absolute") -> list[int]:
    """Indices of the edges in the order that a search from the logits takes them (Hanna 2024).

    With an edge its sender is in, and then every edge into the sender can be taken: into q, k and v of a head, also
    where other heads share its K/V reader; at positions, into its keys and values at all that the sender's may look at.
    Edges from which the logits cannot be reached are never taken.
    """
    order, edges = ranked(scores, ranking), scores.edges
    group = connect.group_size(edges)
    # Edges stand in the heap by their place in the ranking, so its sign and its ties are those of `ranked`.
    into: dict[tuple[Node, Label], list[int]] = defaultdict(list)
    positions = scores.positions()
    for place, i in enumerate(order):
        for at in connect.heard_at(edges[i], positions, scores.provenance.both_ways):
            for owner in connect.owners(edges[i].receiver, group):
                into[owner, at].append(place)
    heap = [place for at in positions for place in into.pop((connect.LOGITS, at), [])]
    heapq.heapify(heap)
    taken = dict[int, None]()
    while heap:
        place = heapq.heappop(heap)
        taken[place] = None  # offered once by each head that reads it, and at each position: the first time counts
        edge = edges[order[place]]
        for offered in into.pop((edge.sender, edge.position), []):
            heapq.heappush(heap, offered)
    return [order[place] for place in taken]


# ---------------------------------------------------------------- circuits


@kinds_checked
def discover(
    scores: Scores,
    *,
    n: int | None = None,
    fraction: float | None = None,
    threshold: float | None = None,
    ranking: Ranking = "absolute",
    algorithm: str = "top",
    prune: bool = False,
) -> Circuit:
    """The first `n` parts, a `fraction` of all (rounded up), or those before the first of importance < `threshold`.

    ranking: `absolute` by size, `signed` by importance (parts that work against the answer come last). algorithm: the
    order to take them in (`selections()` lists them). prune: of the edges taken, keep those on a path from an embedding
    to the logits; there may then be fewer than asked for. In a circuit of nodes the embedding is always in and never
    counted; among edges nothing is.

    Raises: CircuitError for none or several of n, fraction, threshold, one out of range, or an algorithm of other levels.
    """
    available, level = len(ranked(scores, ranking)), scores.provenance.level
    chosen = get_selection(algorithm)
    if level not in chosen.levels:
        raise CircuitError(
            f"selection {algorithm!r} works at level {', '.join(chosen.levels)}; the scores are {level}."
        )
    given = {k: v for k, v in (("n", n), ("fraction", fraction), ("threshold", threshold)) if v is not None}
    if len(given) != 1:
        raise CircuitError(f"give one of n, fraction and threshold; given {given or 'none'}.")
    order = chosen.function(scores, ranking)
    if threshold is not None:
        if not isinstance(threshold, int | float | np.number):
            raise CircuitError(f"threshold={threshold!r:.80}: expected a number.")
        keep = _reaching(scores, order, ranking, threshold)
    else:
        keep = order[: _count(n, fraction, available, len(order), level)]
    how = ", ".join(f"{k}={v:g}" for k, v in given.items()) + f", {ranking} ranking"
    return _circuit(scores, keep, how + ("" if algorithm == "top" else f", {algorithm}"), prune)


def _count(n: int | None, fraction: float | None, available: int, reached: int, level: str) -> int:
    """How many parts are asked for. Raises: CircuitError where that is no number of parts."""
    if n is not None and not is_whole(n):
        raise CircuitError(f"n={n!r}: expected a whole number; use fraction=... for a share of all.")
    if fraction is not None and not 0 < fraction <= 1:
        raise CircuitError(f"fraction={fraction}: expected more than 0 and at most 1.")
    # The product is rounded first: 0.07 * 100 is a little more than 7 in floating point.
    wanted = n if n is not None else max(1, math.ceil(round((fraction or 0) * available, 9)))
    what = level if level in ("edges", "features") else f"nodes of level {level!r}"
    if not 1 <= wanted <= available:
        raise CircuitError(f"n={n}: expected 1 to {available}, the {what}.")
    if wanted > reached:
        raise CircuitError(f"{wanted} {what} asked for, but this selection reaches only {reached} of {available}.")
    return wanted


def _reaching(scores: Scores, order: list[int], ranking: Ranking, threshold: float) -> list[int]:
    """The parts before the first whose importance is below the threshold. Raises: CircuitError where there are none."""
    sizes = scores.importance if ranking == "signed" else np.abs(scores.importance)
    keep = list(takewhile(lambda i: sizes[i] >= threshold, order))
    if not keep:
        found = f"the first, {scores.parts[order[0]].name}, has {sizes[order[0]]:.4g}" if order else "there are none"
        raise CircuitError(f"threshold={threshold}: no part reaches it; {found}. Give a lower threshold, or n.")
    return keep


def _circuit(scores: Scores, keep: list[int], how: str, prune: bool) -> Circuit:
    """The circuit of these parts, with what its scores say about themselves."""
    p = scores.provenance
    if p.level != "edges":
        if prune:
            raise CircuitError(f"prune=True keeps edges that lie on a path; the scores are of level {p.level!r}.")
        chosen = tuple(scores.parts[i] for i in keep)
        return Circuit(chosen, p.level, p.model, p.task, p.method, how, p.pairs, dictionaries=p.dictionaries)
    every = scores.edges
    edges = tuple(every[i] for i in keep)
    if prune:
        kept = connect.on_paths(edges, connect.group_size(every), p.both_ways)
        how, edges = how + connect.pruned_text(len(kept), len(edges)), kept
    kv = cast(KeyValue, p.kv)  # `Circuit` checks it
    return Circuit(
        edges, p.level, p.model, p.task, p.method, how, p.pairs, kv, p.split_positions,
        positions=p.positions, labels=labels_of(scores), both_ways=p.both_ways,
    )  # fmt: skip


def labels_of(scores: Scores) -> tuple[int | str, ...]:
    """The positions that the parts of some scores are apart at; none where each is at all together."""
    return tuple(label for label in scores.positions() if label is not None)


# ---------------------------------------------------------------- a circuit in its ranking


def order_of(circuit: Circuit, scores: Scores | None) -> list[Part]:
    """The parts of the circuit, then the rest of the ranking: the order that an evaluation follows."""
    inside = frozenset(circuit.parts)
    return [*circuit.parts, *(part for part in _ranked(circuit, scores) if part not in inside)]


def is_top(circuit: Circuit, scores: Scores | None) -> bool:
    """Whether the circuit is the top of the ranking; without a ranking its own order is all there is."""
    ranking = _ranked(circuit, scores)
    return not ranking or frozenset(ranking[: len(circuit)]) == frozenset(circuit.parts)


def _ranked(circuit: Circuit, scores: Scores | None) -> list[Part]:
    """The parts of scores that rank those of the circuit, in the order of its selection; none where they do not."""
    if scores is None or scores.provenance.level != circuit.level or set(labels_of(scores)) != set(circuit.labels):
        return []
    signed = "signed ranking" in circuit.selection and not scores.provenance.unsigned
    return [scores.parts[i] for i in ranked(scores, "signed" if signed else "absolute")]
