"""The result of an attribution method and how it came about: a value that prints, saves, loads and ranks itself."""

from __future__ import annotations

import json
from collections.abc import Set
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from interp.errors import ScoreError, unknown
from interp.files import replacing
from interp.nodes import Node

Ranking = Literal["signed", "absolute"]
FORMAT = 1


@dataclass(frozen=True)
class Provenance:
    """Every convention that a score depends on.

    `importance_sign`: +1 where a positive score means important. `base_metric`, `source_metric`: means over the
    examples. `forwards`, `backwards`: passes over the data that this method made; runs shared with other methods count
    for the first that needs them. `coefficients_at`: where gradients or relevance coefficients are taken. `pairs`:
    a hash of every pair, so that scores of other prompts are never compared.
    """

    method: str
    level: str
    positions: str
    direction: str
    ablation: str
    metric: str
    unit: str
    importance_sign: int
    rules: str
    steps: int | None
    quadrature: str | None
    seed: int
    model: str
    task: str
    n_pairs: int
    dtype: str
    attention: str
    base_metric: float
    source_metric: float | None
    forwards: float
    backwards: float
    seconds: float
    exact: bool
    coefficients_at: str = ""
    special_tokens: str = ""
    padding: str = "none: every batch has one length"
    pairs: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Scores:
    """`per_example` [example node]: metric(patched) - metric(base) or its estimate, in the metric's unit.

    Raises: ScoreError where a score is not finite or the shapes do not fit.
    """

    nodes: tuple[Node, ...]
    per_example: np.ndarray
    provenance: Provenance

    def __post_init__(self) -> None:
        if self.per_example.ndim != 2 or self.per_example.shape[1] != len(self.nodes) or not len(self.per_example):
            raise ScoreError(
                f"scores of shape {self.per_example.shape} for {len(self.nodes)} nodes; expected [example, node]."
            )
        bad = np.argwhere(~np.isfinite(self.per_example))
        if len(bad):
            example, node = bad[0]
            raise ScoreError(
                f"score of node {self.nodes[node].name} is not finite on example {example} ({len(bad)} such scores, "
                f"method {self.provenance.method}, dtype {self.provenance.dtype}). Try dtype float32 or float64."
            )

    @property
    def mean(self) -> np.ndarray:
        """Mean over examples [node]."""
        return np.asarray(self.per_example.mean(0))

    @property
    def stderr(self) -> np.ndarray:
        """Standard error of the mean over examples [node]; nan for one example."""
        n = len(self.per_example)
        return self.per_example.std(0, ddof=1) / np.sqrt(n) if n > 1 else np.full(len(self.nodes), np.nan)

    @property
    def importance(self) -> np.ndarray:
        """Mean score with its sign turned so that large means important [node]: the one owner of that sign."""
        return self.provenance.importance_sign * self.mean

    def rank(self, ranking: Ranking = "absolute") -> np.ndarray:
        """Node indices from most to least important: by importance (`signed`) or by its size (`absolute`)."""
        if ranking not in ("signed", "absolute"):
            raise ScoreError(unknown("ranking", ranking, ("signed", "absolute")))
        key = self.importance if ranking == "signed" else np.abs(self.importance)
        return np.argsort(-key, kind="stable")

    def top(self, n: int = 10, ranking: Ranking = "absolute") -> list[tuple[str, float]]:
        """The names and scores of the first `n` nodes of the ranking."""
        return [(self.nodes[i].name, float(self.mean[i])) for i in self.rank(ranking)[:n]]

    def positions(self) -> list[int | str | None]:
        """The position labels, in order."""
        return list(dict.fromkeys(node.position for node in self.nodes))

    def __getitem__(self, name: str) -> float:
        """The mean score of a node by name."""
        names = [node.name for node in self.nodes]
        if name not in names:
            raise ScoreError(unknown("node", name, names))
        return float(self.mean[names.index(name)])

    def select_components(self, names: Set[str]) -> Scores:
        """The scores of some components, at all their positions, in the same order."""
        keep = [i for i, node in enumerate(self.nodes) if replace(node, position=None).name in names]
        return Scores(tuple(self.nodes[i] for i in keep), self.per_example[:, keep], self.provenance)

    def to_pandas(self) -> Any:
        """A table: node, kind, layer, head, neuron, position, score, stderr, importance."""
        import pandas as pd

        columns = {
            "node": [n.name for n in self.nodes],
            "kind": [n.kind for n in self.nodes],
            "layer": pd.array([n.layer for n in self.nodes], dtype="Int64"),
            "head": pd.array([n.head for n in self.nodes], dtype="Int64"),
            "neuron": pd.array([n.neuron for n in self.nodes], dtype="Int64"),
            "position": ["all" if n.position is None else str(n.position) for n in self.nodes],
        }
        return pd.DataFrame({**columns, "score": self.mean, "stderr": self.stderr, "importance": self.importance})

    def __str__(self) -> str:
        p = self.provenance
        lines = [
            f"Scores({p.method}, {p.level}, {p.direction}, {len(self.nodes)} nodes, {p.n_pairs} pairs, unit: {p.unit})"
        ]
        return "\n".join(lines + [f"  {name:<14} {score:+.4f}" for name, score in self.top()])

    __repr__ = __str__

    # ------------------------------------------------------------ files

    def save(self, path: str | Path) -> None:
        """Write a parquet table with the scores per example and the provenance in its metadata."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(self.to_pandas(), preserve_index=False)
        table = table.append_column("per_example", pa.array(self.per_example.T.tolist(), type=pa.list_(pa.float64())))
        header = {"format": FORMAT, "nodes": [asdict(n) for n in self.nodes], "provenance": asdict(self.provenance)}
        table = table.replace_schema_metadata(
            {**(table.schema.metadata or {}), b"interp.scores": json.dumps(header).encode()}
        )
        with replacing(path) as temporary:
            pq.write_table(table, temporary)

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """Read what `save` wrote. Raises: ScoreError for another file, version or key."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise ScoreError(f"scores file {str(path)!r} cannot be read: {error}.") from error
        header = json.loads((table.schema.metadata or {}).get(b"interp.scores", b"{}"))
        if header.get("format") != FORMAT:
            raise ScoreError(f"scores file {str(path)!r} has format {header.get('format')!r}; expected {FORMAT}.")
        if set(header["provenance"]) != {f.name for f in fields(Provenance)}:
            raise ScoreError(f"scores file {str(path)!r}: its provenance has other keys than this version's.")
        header["provenance"]["pairs"] = tuple(header["provenance"]["pairs"])
        nodes = tuple(Node(**n) for n in header["nodes"])
        per_example = np.array(table["per_example"].to_pylist(), dtype=np.float64).T
        return cls(nodes, per_example, Provenance(**header["provenance"]))
