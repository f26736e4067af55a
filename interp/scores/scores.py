"""The result of an attribution method and how it came about: a value that prints, saves, loads and ranks itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np

from interp.errors import InterpError, ScoreError, unknown
from interp.formatting.guarded import reading
from interp.formatting.parquet import header_of, read_columns, with_header, write_columns
from interp.formatting.plain import rebuilt
from interp.formatting.showing import figure
from interp.formatting.table import Table
from interp.formatting.text import printed, visible
from interp.parts.graph import Edge, Part, parse_edge
from interp.parts.nodes import FEATURES, Node
from interp.scores.per_example import PerExample
from interp.scores.provenance import Provenance, has_its_keys, provenance_of, told
from interp.scores.trail import Search
from interp.whole_numbers import count

Ranking = Literal["signed", "absolute"]
FORMAT = 1
HEADER: Final = b"interp.scores"


@dataclass(frozen=True, eq=False, repr=False)
class Scores(PerExample, Table):
    """`per_example` [example part]: metric(patched) - metric(base) or its estimate, in the metric's unit. A part is what
    was scored: a node, or an edge at level `edges`.

    `mean`, `stderr`: over the examples [part]. `exact`: which scores are exact [part], not estimates; all of method `exact`,
    None for an approximation. `error`: 0 where exact, else a distance: a part drawn at random from the estimated ones is off
    by more with a chance of at most `search.radius_chance` [part]; None where nothing is stated. `search`: what method
    `auto` tried.

    Raises: ScoreError where a score is not finite or the shapes do not fit.
    """

    fault: ClassVar[type[InterpError]] = ScoreError

    parts: tuple[Part, ...]
    per_example: np.ndarray
    provenance: Provenance
    exact: np.ndarray | None = None
    error: np.ndarray | None = None
    search: Search | None = None

    def __post_init__(self) -> None:
        if self.provenance.exact and self.exact is None:
            object.__setattr__(self, "exact", np.ones(len(self.parts), dtype=bool))
            object.__setattr__(self, "error", np.zeros(len(self.parts)))
        for name in ("exact", "error"):
            given = getattr(self, name)
            if given is not None and given.shape != (len(self.parts),):
                raise ScoreError(f"{name} of shape {given.shape} for {len(self.parts)} parts; expected [part].")
        if self.per_example.ndim != 2 or self.per_example.shape[1] != len(self.parts) or not len(self.per_example):
            raise ScoreError(
                f"scores of shape {self.per_example.shape} for {len(self.parts)} parts; expected [example, part]."
            )
        bad = np.argwhere(~np.isfinite(self.per_example))
        if len(bad):
            example, part = bad[0]
            raise ScoreError(
                f"score of {self.parts[part].name} is not finite on example {example} ({len(bad)} such scores, "
                f"method {self.provenance.method}, dtype {self.provenance.dtype}). Try dtype float32 or float64."
            )

    @property
    def importance(self) -> np.ndarray:
        """Mean score with its sign turned so that large means important [part]: the one owner of that sign."""
        return self.provenance.importance_sign * self.mean

    def rank(self, ranking: Ranking = "absolute") -> np.ndarray:
        """Indices of the parts from most to least important: by importance (`signed`) or by its size (`absolute`).

        Raises: ScoreError for another ranking, and for `signed` where the scores are unsigned.
        """
        if ranking not in ("signed", "absolute"):
            raise ScoreError(unknown("ranking", ranking, ("signed", "absolute")))
        if ranking == "signed" and self.provenance.unsigned:
            raise ScoreError(
                f"ranking 'signed' of scores of {self.provenance.method}, which are sizes without a sign; use 'absolute'."
            )
        key = self.importance if ranking == "signed" else np.abs(self.importance)
        return np.argsort(-key, kind="stable")

    def top(self, n: int = 10, ranking: Ranking = "absolute") -> list[tuple[str, float]]:
        """The names and scores of the first `n` parts of the ranking."""
        first = self.rank(ranking)[: count(n, "n", ScoreError)]
        return [(self.parts[i].name, float(self.mean[i])) for i in first]

    def positions(self) -> list[int | str | None]:
        """The position labels, in order."""
        return list(dict.fromkeys(part.position for part in self.parts))

    def __getitem__(self, name: str) -> float:
        """The mean score of a part by name."""
        names = [part.name for part in self.parts]
        if name not in names:
            raise ScoreError(unknown("edge" if "->" in name else "node", name, names))
        return float(self.mean[names.index(name)])

    def select_components(self, names: Set[str]) -> Scores:
        """The scores of some parts, at all their positions, in the same order."""
        return self.select([i for i, part in enumerate(self.parts) if replace(part, position=None).name in names])

    def select(self, places: Sequence[int] | np.ndarray) -> Scores:
        """The scores of the parts at these places, in this order, with what is known of each."""
        keep = np.asarray(places, dtype=int)
        exact, error = (None if v is None else v[keep] for v in (self.exact, self.error))
        parts = tuple(self.parts[i] for i in keep)
        return Scores(parts, self.per_example[:, keep], self.provenance, exact, error, self.search)

    def known(self) -> Scores:
        """The parts whose scores are exact, as scores of method `exact`; of a search at the price of all that it patched.

        Raises: ScoreError where there are none.
        """
        if self.exact is None or not self.exact.any():
            raise ScoreError(f"no score of {self.provenance.method} is exact; run method 'exact' or 'auto'.")
        found = self.select(np.flatnonzero(self.exact))
        nowhere = "nowhere: none are used"
        provenance = replace(found.provenance, method="exact", exact=True, rules="", coefficients_at=nowhere)
        if self.search is not None:
            patched = [r for r in self.search.rounds if r.parts]
            forwards, seconds = sum(r.cost for r in patched), sum(r.seconds for r in patched)
            provenance = replace(provenance, forwards=forwards, backwards=0.0, seconds=seconds)
        return Scores(found.parts, found.per_example, provenance)

    def to_pandas(self) -> Any:
        """A table: node (or edge, sender, receiver), kind, layer, head, neuron, position, score, stderr, importance; feature at
        level `features`; stack, of a model with several, empty for the one that is read last; and exact and error where they are known."""
        import pandas as pd

        columns: dict[str, Any] = {"node": [p.name for p in self.parts]}
        if any(isinstance(p, Edge) for p in self.parts):
            columns = {"edge": columns["node"], "sender": [str(e.sender) for e in self.edges]}
            columns["receiver"] = [str(e.receiver) for e in self.edges]
        columns |= {"kind": [p.kind for p in self.parts]}
        if any(stacks := [getattr(p, "stack", "") for p in self.parts]):
            columns["stack"] = stacks
        for name in ("layer", "head", "neuron", *(["feature"] if self.provenance.level == FEATURES else [])):
            columns[name] = pd.array([getattr(p, name) for p in self.parts], dtype="Int64")
        columns["position"] = ["all" if p.position is None else str(p.position) for p in self.parts]
        columns |= {"score": self.mean, "stderr": self.stderr, "importance": self.importance}
        columns |= {name: v for name, v in (("exact", self.exact), ("error", self.error)) if v is not None}
        return pd.DataFrame(columns)

    @property
    def edges(self) -> tuple[Edge, ...]:
        """The parts, of scores of edges. Raises: ScoreError for scores of nodes."""
        found = tuple(p for p in self.parts if isinstance(p, Edge))
        if len(found) < len(self.parts):
            raise ScoreError(f"scores of level {self.provenance.level!r} are of nodes, not of edges.")
        return found

    def __str__(self) -> str:
        p, top = self.provenance, self.top()
        what = "edges" if "edges" in p.level else "nodes"
        wide = max(len(visible(name)) for name, _ in top)
        lines = [
            f"Scores({p.method}, {p.level}, {p.direction}, {len(self.parts)} {what}, {p.n_pairs} pairs, unit: {p.unit})"
        ]
        lines += [f"  {visible(name):<{wide}} {score:+.4f}" for name, score in top]
        if len(self.parts) > len(top):
            lines.append(f"  and {len(self.parts) - len(top):,} more")
        return printed("\n".join([*lines, str(self.search.certificate)] if self.search else lines))

    def plot_against(self, exact: Scores) -> Any:
        """A plotly figure of these scores over exact ones: see `interp.plot_agreement`."""
        return figure(self, exact=exact)

    # ------------------------------------------------------------ files

    def save(self, path: str | Path) -> None:
        """Write a parquet table with the scores per example and the provenance in its metadata."""
        import pyarrow as pa

        table = pa.Table.from_pandas(self.to_pandas(), preserve_index=False)
        table = table.append_column("per_example", pa.array(self.per_example.T.tolist(), type=pa.list_(pa.float64())))
        header = {"format": FORMAT, **_described(self.parts), "provenance": told(self.provenance)}
        header |= {"search": self.search.to_dict()} if self.search else {}
        write_columns(with_header(table, HEADER, header), path)

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """Read what `save` wrote. Raises: ScoreError for another file, version or key."""
        what = f"scores file {str(path)!r}"
        table = read_columns(path, f"{what} cannot be read", ScoreError)
        header = header_of(table, HEADER, what, FORMAT, ScoreError, strict=False)
        told_of = header.get("provenance")
        if not has_its_keys(told_of):
            raise ScoreError(f"scores file {str(path)!r}: its provenance has other keys than this version's.")
        with reading(f"{what}: what it says of its search", ScoreError):
            search = Search.from_dict(header["search"]) if "search" in header else None
        with reading(what, ScoreError):
            per_example = np.array(table["per_example"].to_pylist(), dtype=np.float64).T
            exact = _column(table, "exact", "b", search)
            radius = _column(table, "error", "f", search)
            return cls(_parts(header), per_example, provenance_of(told_of), exact, radius, search)


def _column(table: Any, name: str, kind: str, search: Search | None) -> np.ndarray | None:
    """A column that not every file has, but each that tells of a search. Raises: ScoreError where it is missing or of another kind."""
    if name not in table.column_names:
        if search is not None:
            raise ScoreError(f"it has no column {name!r}, which scores of a search have")
        return None
    found = np.array(table[name].to_pylist())
    if found.dtype.kind != kind:
        raise ScoreError(f"its column {name!r} holds {found.dtype}")
    return found


def _described(parts: tuple[Part, ...]) -> dict[str, Any]:
    """Parts as plain data: edges by name, nodes by their fields."""
    if any(isinstance(part, Edge) for part in parts):
        return {"edges": [part.name for part in parts]}
    return {"nodes": [part.to_dict() for part in parts if isinstance(part, Node)]}


def _parts(header: Mapping[str, Any]) -> tuple[Part, ...]:
    """The inverse of `_described`."""
    if "edges" in header:
        return tuple(parse_edge(name) for name in header["edges"])
    return rebuilt(tuple[Node, ...], header["nodes"])  # type: ignore[no-any-return]
