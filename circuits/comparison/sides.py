"""Two runs or circuits side by side: what differs between them, which parts they share, how their scores and places compare.

Parts are matched by name, and only where a name means the same on both sides. Scores are put on one axis only where they
have one unit. Why something is not compared is said, never left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

import numpy as np

from circuits.circuit.algebra import Comparison
from circuits.circuit.circuit import Circuit, listable
from circuits.evaluation.evaluation import Evaluation
from interp.formatting.showing import card, page
from interp.scores.scores import Scores

Quantity = Literal["score", "importance", "size"]
LISTED: Final = 25


@dataclass(frozen=True)
class Side:
    """One of the two. A circuit file has nothing but a circuit; a run that compared methods has no circuit.

    `links`: scores of edges between the nodes or features of the circuit.
    """

    name: str
    finding: str
    circuit: Circuit | None = None
    scores: Scores | None = None
    evaluation: Evaluation | None = None
    links: Scores | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fact:
    """One convention on both sides; None where a side does not say."""

    name: str
    a: str | None
    b: str | None

    @property
    def differs(self) -> bool:
        """Whether both sides say something, and not the same."""
        return None not in (self.a, self.b) and self.a != self.b


@dataclass(frozen=True)
class Placed:
    """One part on both sides: its place in the ranking by size, its score, and whether the circuit holds it.

    A place and a score are None where the part was not scored; `in_a`, `in_b` are None where there is no circuit.
    """

    part: str
    place_a: int | None
    place_b: int | None
    score_a: float | None
    score_b: float | None
    in_a: bool | None
    in_b: bool | None

    @property
    def rise(self) -> int | None:
        """How many places further up the part is on the second side."""
        return None if self.place_a is None or self.place_b is None else self.place_a - self.place_b


@dataclass(frozen=True, repr=False)
class SideBySide:
    """`facts`: every convention of both. `warnings`: those that make numbers hard to compare, a sentence each.

    `rows`: every part that either side scores or holds, by its better place. `unmatched`: why parts are not matched (there are then
    no rows); `unmixed`: why scores are not put on one axis. `quantity`: what is compared: the scores; where the signs of the
    two sides mean different things the importances; where one side has no sign the sizes. `n_common`: parts scored on both
    sides, without embeddings and errors; `pearson`, `spearman`: over these, None for fewer than 3 or where a side does not vary.
    """

    a: Side
    b: Side
    facts: tuple[Fact, ...]
    warnings: tuple[str, ...]
    rows: tuple[Placed, ...]
    comparison: Comparison | None
    quantity: Quantity
    n_common: int
    pearson: float | None
    spearman: float | None
    unmatched: str
    unmixed: str

    @property
    def common(self) -> tuple[tuple[str, float, float], ...]:
        """Name and both values of each part that both sides score, in `quantity`; none where units differ."""
        return () if self.unmixed or self.unmatched else common(self.a.scores, self.b.scores, self.quantity)

    @property
    def unit(self) -> str:
        """The unit of `common`."""
        return "" if self.unmixed or self.a.scores is None else self.a.scores.provenance.unit

    def held(self, where: Literal["both", "a", "b"]) -> tuple[str, ...]:
        """The parts in both circuits, or in one only, most important first."""
        inside = {"both": (True, True), "a": (True, False), "b": (False, True)}[where]
        return tuple(row.part for row in self.rows if (row.in_a, row.in_b) == inside)

    def render(self) -> str:
        """One self-contained HTML page that loads nothing."""
        return page(self)

    def to_pandas(self) -> Any:
        """A table: part, place_a, place_b, rise, score_a, score_b, in_a, in_b."""
        import pandas as pd

        rows = [(r.part, r.place_a, r.place_b, r.rise, r.score_a, r.score_b, r.in_a, r.in_b) for r in self.rows]
        names = ["part", "place_a", "place_b", "rise", "score_a", "score_b", "in_a", "in_b"]
        kinds = {"place_a": "Int64", "place_b": "Int64", "rise": "Int64", "in_a": "boolean", "in_b": "boolean"}
        return pd.DataFrame(rows, columns=names).astype(kinds)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: all but the tables per part beyond the first rows."""
        circuits = {w: list(self.held(w)) for w in ("both", "a", "b")} if self.comparison else None  # type: ignore[arg-type]
        return {
            "a": {"name": self.a.name, "finding": self.a.finding},
            "b": {"name": self.b.name, "finding": self.b.finding},
            "differs": {f.name: [f.a, f.b] for f in self.facts if f.differs},
            "warnings": list(self.warnings),
            "parts": {"unmatched": self.unmatched, "in": circuits, "jaccard": self.comparison and self.comparison.jaccard,
                      "by_chance": asdict(self.comparison.chance) if self.comparison and self.comparison.chance else None},
            "scores": {
                "unmixed": self.unmixed, "compared": self.quantity, "unit": self.unit, "n_common": self.n_common,
                "pearson": self.pearson, "spearman": self.spearman,
            },
            "faithfulness": {k: _faithfulness(s.evaluation) for k, s in (("a", self.a), ("b", self.b))},
            "ranking": [vars(row) | {"rise": row.rise} for row in self.rows[:LISTED]],
        }  # fmt: skip

    def __str__(self) -> str:
        return "\n".join(self._lines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return str(card(self))

    def _lines(self) -> Iterator[str]:
        yield from (f"A {self.a.name}: {self.a.finding}", f"B {self.b.name}: {self.b.finding}")
        yield from (f"WARNING: {warning}" for warning in self.warnings)
        if self.comparison is not None:
            yield str(self.comparison)
        yield self.correlation

    @property
    def correlation(self) -> str:
        """How the scores agree, in a sentence."""
        if self.unmatched or self.unmixed:
            return f"Scores are not compared: {self.unmatched or self.unmixed}."
        r, rho = ("undefined" if v is None else f"{v:.3f}" for v in (self.pearson, self.spearman))
        return f"{self.quantity}s of {self.n_common} parts scored on both sides: Pearson {r}, Spearman {rho}"


def common(a: Scores | None, b: Scores | None, quantity: Quantity) -> tuple[tuple[str, float, float], ...]:
    """Name and both values of each part that both score, but embeddings and errors."""
    if a is None or b is None:
        return ()
    ours, theirs = ({p: float(v) for p, v in zip(s.parts, _values(s, quantity), strict=True)} for s in (a, b))
    return tuple((part.name, ours[part], theirs[part]) for part in ours if part in theirs and listable(part))


def _values(scores: Scores, quantity: Quantity) -> np.ndarray:
    if quantity == "size":
        return np.asarray(np.abs(scores.mean))
    return scores.importance if quantity == "importance" else scores.mean


def _faithfulness(found: Evaluation | None) -> dict[str, Any] | None:
    if found is None:
        return None
    f = found.faithfulness
    curve = [[p.size, p.faithfulness.value] for p in found.curve]
    other = found.other and asdict(found.other)
    return {
        "value": f.value,
        "low": f.low,
        "high": f.high,
        "size": found.size,
        "of": found.n_nodes,
        "curve": curve,
        "other": other,
    }
